// node detect_in_node.cjs MODEL IMAGES HEIGHT WIDTH: prints the detections of raw RGB bytes as JSON.
const fs = require("fs");
const ort = require("onnxruntime-web");

async function main([model, images, height, width]) {
  const session = await ort.InferenceSession.create(fs.readFileSync(model));
  const shape = [1, Number(height), Number(width), 3];
  const tensor = new ort.Tensor("uint8", new Uint8Array(fs.readFileSync(images)), shape);
  const found = await session.run({ images: tensor });
  const plain = Object.entries(found).map(([name, value]) => [name, { dims: value.dims, data: Array.from(value.data) }]);
  console.log(JSON.stringify(Object.fromEntries(plain)));
}

main(process.argv.slice(2));
