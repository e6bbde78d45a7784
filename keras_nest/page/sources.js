/* Where images come from: files that are chosen, dropped or pasted, and the camera. */

import { $, make, show } from "./dom.js";

let stream = null;

const hasCamera = () => Boolean(navigator.mediaDevices?.getUserMedia);

/** Ends the camera, if it is on. */
export function stopCamera() {
  if (stream && $("take").contains(document.activeElement)) $("camera").focus();
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  show("video take cancel", false);
  show("camera", hasCamera());
}

async function openCamera(fail) {
  show("error", false);
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1920 } } });
  } catch {
    fail("There is no camera, or the browser may not use it.");
    return;
  }
  $("video").srcObject = stream;
  await $("video").play();
  show("video take cancel");
  show("drop file photo camera other", false);
  $("take").focus();
}

function takePicture(take) {
  const { videoWidth: width, videoHeight: height } = $("video");
  const canvas = make("canvas", { width, height });
  canvas.getContext("2d").drawImage($("video"), 0, 0);
  canvas.toBlob((blob) => take(blob, "camera"), "image/png");
}

/**
 * Hands every image to `take(file, name)`; what goes wrong is told to `fail(message)`, and `cancel()` is called when the
 * camera ends without a picture.
 */
export function listen(take, fail, cancel) {
  const first = (files) => files[0] && take(files[0], files[0].name);
  show("camera", hasCamera());
  $("camera").onclick = () => openCamera(fail);
  $("take").onclick = () => takePicture(take);
  $("cancel").onclick = () => {
    stopCamera();
    cancel();
    $("camera").focus();
  };
  $("other").onclick = () => $("file").click();
  $("file").onchange = () => {
    first([...$("file").files]);
    $("file").value = ""; // so that the same file may be chosen again
  };
  document.addEventListener("paste", (event) => first([...event.clipboardData.files]));
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    document.body.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("over");
  });
  document.addEventListener("drop", (event) => {
    document.body.classList.remove("over");
    const files = [...event.dataTransfer.files];
    if (!files.length && event.target.closest("input, textarea")) return; // words that go there
    event.preventDefault();
    if (!files.length) fail("What was dropped is no file; save the image, and drop or choose its file.");
    first(files);
  });
}
