/* Image files as pixels: upright, without color management, and what is transparent on white, as training reads them. */

/** An image as prepare.js takes it; close() gives its memory back. */
export async function openPhotograph({ file, name }, mostPixels) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { colorSpaceConversion: "none", imageOrientation: "from-image" });
  } catch {
    throw new Error(`${name} cannot be read as an image by this browser; take a complete JPEG, PNG, WebP, GIF or BMP file.`);
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
