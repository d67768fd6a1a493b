'use strict';

let initialized = 0;

exports.initializer = (context, callback) => {
  initialized += 1;
  callback(null);
};

exports.handler = (event, context, callback) => {
  const asked = event.toString();
  console.log('asked for %s', asked);
  const answers = {
    context: () => callback(null, context),
    initialized: () => callback(null, initialized),
    object: () => callback(null, { b: 1, a: '你' }),
    nothing: () => callback(null),
    text: () => callback(null, 'text'),
    bytes: () => callback(null, Buffer.from([0, 255])),
    handled: () => callback(new TypeError('as a value')),
    thrown: () => { throw new RangeError('out of range'); },
    circle: () => { const circle = {}; circle.circle = circle; throw circle; },
    big: () => { throw 10n; },
    bigResult: () => callback(null, 10n),
    message: () => { const error = new Error('x'); error.message = { big: 10n }; throw error; },
    word: () => callback('just a word'),
  };
  (answers[asked] || (() => callback(null, event)))();
};

exports.later = async (event, context) => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  if (event.toString() === 'fail') throw new Error('later');
  return `later ${event} ${context.requestId}`;
};

exports.web = (req, resp, context) => {
  const pieces = [];
  req.on('data', (piece) => pieces.push(piece));
  req.on('end', () => {
    resp.setStatusCode(201);
    resp.setHeader('X-Own', 'mine');
    const { method, path, queries } = req;
    const body = Buffer.concat(pieces).toString();
    resp.send(JSON.stringify({ method, path, queries, body, name: context.function.name }));
  });
};

exports.throws = (req, resp) => {
  resp.setStatusCode(201);
  resp.setHeader('X-Own', 'mine');
  throw new RangeError('out of range');
};

exports.rejects = async () => { throw new TypeError('later'); };

exports.client = (req, resp) => resp.send(JSON.stringify([req.clientIP, req.headers['x-forwarded-proto']]));

// What a handler does not return comes by its callback, however the signature is written.
const answer = (callback) => { setTimeout(() => callback(null, 'called'), 1); };
const none = () => { throw new Error('no callback came'); };
Object.assign(exports, {
  withDefault: (event, context, callback = none) => answer(callback),
  withDefaults(event = '(,', context = { a: [1, 2], b: (x, y) => x }, callback = none) { answer(callback); },
  withRest: (event, ...rest) => answer(rest[1]),
  withArguments: function withArguments() { answer(arguments[2]); },
  countsArguments: function countsArguments() { return arguments.length + ' in all'; },
  commented: (event /* , one, */, context = ',', // , two
    callback = none) => answer(callback),
  alone: (event) => { console.log(`${event}`, 'arguments'); },
  bare: event => 'bare',
  without: () => 'without',
  two: (event, context = { a: 1, b: 2 }) => 'two',
});
