/* Image files as pixels: upright, without color management, and what is transparent on white, as training reads them. */

/** An image as prepare.js takes it; close() gives its memory back. */
export async function openPhotograph({ file, name }, mostPixels) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error(`${name} cannot be read as an image by this browser; take a complete JPEG, PNG, WebP, GIF or BMP file.`);
  }
  if ((await webpOrientation(file)) > 1) {
    bitmap.close();
    throw new Error(`${name} is to be turned, as its EXIF data say, which browsers do not do with WebP files; save it upright.`);
  }
  const { width, height } = bitmap;
  if (width * height > mostPixels) {
    bitmap.close();
    throw new Error(`${name} has ${width} x ${height} pixels; it may have ${mostPixels} in all.`);
  }
  const read = (left, top, columns, rows) => {
    const context = canvasOf(columns, rows);
    context.fillStyle = "#fff";
    context.fillRect(0, 0, columns, rows);
    context.drawImage(bitmap, left, top, columns, rows, 0, 0, columns, rows);
    return context.getImageData(0, 0, columns, rows).data;
  };
  return { width, height, read, close: () => bitmap.close() };
}

/** In memory, where pixels are read as they were drawn; in parts, since some systems refuse large ones. */
function canvasOf(width, height) {
  const canvas = Object.assign(document.createElement("canvas"), { width, height });
  return canvas.getContext("2d", { willReadFrequently: true });
}

/** Whether pixels come back as they were drawn: some browsers change them, so that nobody is known by them. */
export function keepsPixels() {
  const context = canvasOf(16, 16);
  const pixels = context.createImageData(16, 16);
  pixels.data.forEach((_, k) => (pixels.data[k] = k % 4 === 3 ? 255 : (k * 37) % 256));
  context.putImageData(pixels, 0, 0);
  return context.getImageData(0, 0, 16, 16).data.every((value, k) => value === pixels.data[k]);
}

/** The orientation in the EXIF part of a WebP file; 1, upright, if there is none. */
async function webpOrientation(file) {
  const text = async (start, end) => new TextDecoder("latin1").decode(await file.slice(start, end).arrayBuffer());
  if (!/^RIFF....WEBP$/s.test(await text(0, 12))) return 1;
  for (let start = 12, size; start + 8 <= file.size; start += 8 + size + (size % 2)) {
    const head = new DataView(await file.slice(start, start + 8).arrayBuffer());
    size = head.getUint32(4, true);
    if ((await text(start, start + 4)) !== "EXIF") continue;
    const skipped = (await text(start + 8, start + 14)) === "Exif\0\0" ? 14 : 8;
    return exifOrientation(new DataView(await file.slice(start + skipped, start + 8 + size).arrayBuffer()));
  }
  return 1;
}

/** Of EXIF data, which are a TIFF file without pixels. */
function exifOrientation(data) {
  try {
    const isLittle = data.getUint16(0) === 0x4949; // "II", else "MM"
    const first = data.getUint32(4, isLittle);
    for (let k = 0; k < data.getUint16(first, isLittle); k++) {
      const entry = first + 2 + 12 * k;
      if (data.getUint16(entry, isLittle) === 0x0112) return data.getUint16(entry + 8, isLittle);
    }
  } catch {
    // damaged
  }
  return 1;
}
