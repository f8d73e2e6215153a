// JSON, Buffers, zlib and worker threads. Everything printed is a number or a digest that both allocators must agree on.
const crypto = require('crypto');
const zlib = require('zlib');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');

const digest = (data) => crypto.createHash('sha256').update(data).digest('hex');
const numbers = (seed) => () => (seed = (Math.imul(seed, 1103515245) + 12345) >>> 0) >>> 8;

function work(seed) {
  const next = numbers(seed);
  const records = [];
  for (let i = 0; i < 20000; i++) {
    records.push({ id: i, name: 'n'.repeat(next() % 40), tags: [next() % 9, next() % 9], nested: { deep: { value: next() } } });
  }
  const text = JSON.stringify(records);
  const back = JSON.parse(text);
  const parts = [];
  for (let i = 0; i < 3000; i++) parts.push(Buffer.alloc(next() % 9000, i & 255));
  const whole = Buffer.concat(parts);
  const packed = zlib.gzipSync(Buffer.concat([whole, Buffer.from(text)]), { level: 6 });
  const unpacked = zlib.gunzipSync(packed);
  const brotli = zlib.brotliDecompressSync(zlib.brotliCompressSync(text, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 4 } }));
  return {
    records: back.length,
    sum: back.reduce((sum, record) => sum + record.nested.deep.value, 0),
    json: digest(text),
    buffers: digest(whole),
    same: unpacked.equals(Buffer.concat([whole, Buffer.from(text)])) && brotli.toString() === text,
  };
}

if (isMainThread) {
  console.log(JSON.stringify(work(1)));
  const ended = [2, 3, 4].map((seed) => new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: seed });
    let answer;
    worker.on('message', (message) => { answer = message; });
    worker.on('error', reject);
    worker.on('exit', () => resolve(answer));
  }));
  Promise.all(ended).then((answers) => answers.forEach((answer) => console.log(JSON.stringify(answer))));
} else {
  parentPort.postMessage(work(workerData));
}
