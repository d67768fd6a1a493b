// The shim of the Node.js runtimes: a web server that calls the function's handlers, like a custom runtime's server.
//
//     node server.js MAJOR MODULES
//
// where MAJOR is the Node.js version that the runtime names; the log notes if another version stands in. MODULES are the
// directories of packages that `require` searches last: those of layers and of the runtime.
// Started by ../custom/monitor.py in the function's environment. Requires Node.js 12 or later and no packages.
// Events, the initializer and hooks arrive as POST /invoke and similar requests, web requests unchanged.
'use strict';

const { AsyncLocalStorage } = require('async_hooks');
const http = require('http');
const modules = require('module');
const path = require('path');
const util = require('util');
const { pathToFileURL } = require('url');

const CODE = process.env.FC_FUNC_CODE_PATH || '/code/';
const WANTED = process.argv[2];
const NOTICE = process.versions.node.split('.')[0] === WANTED ? ''
  : `Runtime nodejs${WANTED} runs on Node.js ${process.versions.node}: Node.js ${WANTED} was not found.`;
const RESULT_BYTES_MAX = 32 * 1024 * 1024;
const calls = new AsyncLocalStorage();

// Programs that the function starts search there, too. Node.js reads the variable only once, at its own start.
process.env.NODE_PATH = [process.env.NODE_PATH, process.argv[3]].filter(Boolean).join(path.delimiter);
modules._initPaths();

// An error before the handler is called, worded like the cloud's.
class LoadFailure extends Error {
  constructor(type, message, cause) {
    super(message);
    this.name = type;
    this.stack = cause && cause.stack ? cause.stack : message;
    // The stack frames lack this line, which names what is missing.
    this.why = cause && cause.message ? [`${cause.name}: ${String(cause.message).split('\n', 1)[0]}`] : [];
  }
}

function frame(level) {
  return (...values) => {
    const call = calls.getStore();
    const head = `${new Date().toISOString()} ${call ? call.requestId : ''} [${level}] `;
    process.stdout.write(head + util.format(...values) + '\n');
  };
}

Object.assign(console, {
  log: frame('verbose'), info: frame('info'), warn: frame('warn'), error: frame('error'), debug: frame('debug'),
});

const loaded = new Map();

// Finds the function that a handler's name refers to. After a failure, the next call tries again.
async function find(name) {
  if (loaded.has(name)) return loaded.get(name);
  const dot = name.lastIndexOf('.');
  if (dot < 1) throw new LoadFailure('InvalidHandleName', `Invalid handler '${name}'`);
  const [module, attribute] = [name.slice(0, dot), name.slice(dot + 1)];
  const found = (await load(module))[attribute];
  if (typeof found !== 'function') {
    throw new LoadFailure('HandlerNotFound', `Handler '${attribute}' is missing on module '${module}'`);
  }
  loaded.set(name, found);
  return found;
}

async function load(module) {
  const file = path.resolve(CODE, module);
  try {
    return require(file);
  } catch (error) {
    const missing = error.code === 'MODULE_NOT_FOUND' && String(error.message).includes(`'${file}'`);
    if (!missing && error.code !== 'ERR_REQUIRE_ESM') {
      throw new LoadFailure('ImportModuleError', `Unable to import module '${module}'`, error);
    }
  }
  for (const extension of ['.mjs', '.js']) {
    try {
      return await import(pathToFileURL(file + extension).href);
    } catch (error) {
      // A package that the file imports is missing under the same code, by a message that names the file as well.
      const lacking = `Cannot find module '${file + extension}'`;
      const missing = error.code === 'ERR_MODULE_NOT_FOUND' && String(error.message).startsWith(lacking);
      if (!missing) throw new LoadFailure('ImportModuleError', `Unable to import module '${module}'`, error);
    }
  }
  throw new LoadFailure('ImportModuleError', `Unable to import module '${module}'`, new Error(`there is no ${file}.js`));
}

function contextOf(headers) {
  const text = (name) => headers[name] || '';
  const number = (name) => Number(headers[name] || 0);
  return {
    requestId: text('x-fc-request-id'),
    credentials: {
      accessKeyId: text('x-fc-access-key-id'),
      accessKeySecret: text('x-fc-access-key-secret'),
      securityToken: text('x-fc-security-token'),
    },
    function: {
      name: text('x-fc-function-name'),
      handler: text('x-fc-function-handler'),
      memory: number('x-fc-function-memory'),
      timeout: number('x-fc-function-timeout'),
      initializer: text('x-fc-function-initializer'),
      initializationTimeout: number('x-fc-initialization-timeout'),
    },
    service: {
      name: text('x-fc-service-name'),
      logProject: text('x-fc-service-logproject'),
      logStore: text('x-fc-service-logstore'),
      qualifier: text('x-fc-qualifier'),
      versionId: text('x-fc-version-id'),
    },
    region: text('x-fc-region'),
    accountId: text('x-fc-account-id'),
    retryCount: number('x-fc-retry-count'),
    logger: console,
  };
}

function body(request) {
  return new Promise((resolve, reject) => {
    const pieces = [];
    request.on('data', (piece) => pieces.push(piece));
    request.on('end', () => resolve(Buffer.concat(pieces)));
    request.on('error', reject);
  });
}

// Calls a handler that passes its result to a callback, returns it, or returns a promise of it.
function called(handler, ...values) {
  return new Promise((resolve, reject) => {
    const callback = (error, result) => {
      if (error) reject(Object.assign(new Handled(), { error }));
      else resolve(result);
    };
    const returned = handler(...values, callback);
    if (returned && typeof returned.then === 'function') returned.then(resolve, reject);
    else if (!waits(handler, values.length + 1, returned)) resolve(returned);
  });
}

const STRINGS_AND_COMMENTS = /\/\*[^]*?\*\/|\/\/.*|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`(?:\\.|[^`\\])*`/g;

// Whether a function passes its result to the callback, the last of `count` arguments. A function that only mentions
// `arguments` may have inspected them for another reason: if it returned a value, that is its result.
function waits(handler, count, returned) {
  if (handler.length >= count) return true;
  if (!signatures.has(handler)) signatures.set(handler, signatureOf(handler));
  const signature = signatures.get(handler);
  return signature.parameters >= count || (signature.readsArguments && returned === undefined);
}

// Computed once per handler, because its source may be long.
const signatures = new WeakMap();

// Parses the source, because a function's `length` counts neither parameters from the first default on nor the rest.
function signatureOf(handler) {
  const source = Function.prototype.toString.call(handler).replace(STRINGS_AND_COMMENTS, '""');
  const [parameters, body] = parted(source);
  const rest = parameters.some((parameter) => parameter.startsWith('...'));
  return {
    parameters: rest ? Infinity : parameters.length,
    readsArguments: /\barguments\b/.test(body) && !/^[^{]*=>/.test(source),
  };
}

// The parameters in a function's source, as written, and the source that follows them.
function parted(source) {
  const start = source.indexOf('(');
  const arrow = source.indexOf('=>');
  if (start < 0 || (arrow >= 0 && arrow < start)) return [[source.slice(0, arrow).trim()], source.slice(arrow)];
  const parameters = [''];
  let depth = 0;
  for (let at = start + 1; at < source.length; at += 1) {
    const sign = source[at];
    if (depth === 0 && sign === ')') return [parameters.map((each) => each.trim()).filter(Boolean), source.slice(at)];
    if (depth === 0 && sign === ',') {
      parameters.push('');
    } else {
      if ('([{'.includes(sign)) depth += 1;
      if (')]}'.includes(sign)) depth -= 1;
      parameters[parameters.length - 1] += sign;
    }
  }
  return [[], ''];
}

// Wraps an error that a handler passed to its callback; the cloud distinguishes it from a thrown one.
class Handled extends Error {}

function encoded(result) {
  if (Buffer.isBuffer(result) || result instanceof Uint8Array) return Buffer.from(result);
  if (typeof result === 'string') return Buffer.from(result);
  const text = JSON.stringify(result);
  return Buffer.from(text === undefined ? '' : text);
}

function described(error) {
  if (!(error instanceof Error || util.types.isNativeError(error))) return { errorMessage: shown(error), errorType: 'Error' };
  const lines = String(error.stack || '').split('\n').map((line) => line.trim());
  const own = lines.filter((line) => line.startsWith('at ') && !line.includes(__filename));
  const why = error instanceof LoadFailure ? error.why : [];
  return { errorMessage: shown(error.message), errorType: String(error.name), stackTrace: [...why, ...own] };
}

// Converts any thrown value to text; not every value has a JSON form.
function shown(value) {
  if (typeof value === 'string') return value;
  try {
    return JSON.stringify(value) || String(value);
  } catch (_error) {
    return util.inspect(value);
  }
}

function fail(response, error) {
  const handled = error instanceof Handled;
  const told = described(handled ? error.error : error);
  console.error(JSON.stringify(told));
  const type = handled ? 'HandledInvocationError' : 'UnhandledInvocationError';
  const headers = { 'Content-Type': 'application/json', 'X-Fc-Status': '404', 'X-Fc-Error-Type': type };
  // Drop the headers that the handler has set so far.
  response.getHeaderNames().forEach((name) => response.removeHeader(name));
  response.writeHead(404, headers);
  response.end(JSON.stringify(told));
}

async function event(request, response, context) {
  const payload = await body(request);
  const handler = await find(context.function.handler);
  const result = encoded(await called(handler, payload, context));
  if (result.length > RESULT_BYTES_MAX) {
    throw new Error(`the result has ${result.length} bytes, more than the ${RESULT_BYTES_MAX} that are allowed`);
  }
  response.writeHead(200, { 'Content-Type': 'application/octet-stream', 'Content-Length': result.length });
  response.end(result);
}

function hook(header) {
  return async (request, response, context) => {
    await body(request);
    const name = request.headers[header];
    if (name) await called(await find(name), context);
    response.end();
  };
}

// Calls an HTTP handler: (req, resp, context).
async function web(request, response, context) {
  const handler = await find(context.function.handler);
  // Prefix a host: a path that begins with two slashes would otherwise be parsed as one.
  const url = new URL(`http://function${request.url}`);
  const names = [...new Set(url.searchParams.keys())];
  const queries = Object.fromEntries(names.map((name) => {
    const values = url.searchParams.getAll(name);
    return [name, values.length > 1 ? values : values[0]];
  }));
  // The endpoint appended the last address; earlier ones come from the client.
  const address = String(request.headers['x-forwarded-for'] || '').split(',').pop().trim();
  Object.assign(request, { path: decoded(url.pathname), queries, clientIP: address });
  const ended = new Promise((resolve) => response.on('close', resolve).on('finish', resolve));
  await handler(request, responseOf(response), context);
  await ended;
}

// Text that is not valid UTF-8 stays as sent.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch (_error) {
    return text;
  }
}

function responseOf(response) {
  return {
    setStatusCode: (status) => { response.statusCode = status; },
    setHeader: (name, value) => response.setHeader(name, value),
    deleteHeader: (name) => response.removeHeader(name),
    send: (sent) => {
      if (sent && typeof sent.pipe === 'function') sent.pipe(response);
      else response.end(sent === undefined ? undefined : encoded(sent));
    },
  };
}

const PATHS = {
  '/invoke': event,
  '/initialize': hook('x-fc-function-initializer'),
  '/pre-freeze': hook('x-fc-instance-lifecycle-pre-freeze-handler'),
  '/pre-stop': hook('x-fc-instance-lifecycle-pre-stop-handler'),
};

const server = http.createServer((request, response) => {
  const context = contextOf(request.headers);
  calls.run(context, async () => {
    if (NOTICE) process.stdout.write(`${NOTICE}\n`);
    try {
      const serve = PATHS[request.headers['x-fc-control-path']] || web;
      await serve(request, response, context);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else fail(response, error);
    }
  });
});

// No timeouts here: the platform limits requests and connections.
Object.assign(server, { keepAliveTimeout: 24 * 3600 * 1000, headersTimeout: 0, requestTimeout: 0, timeout: 0 });
server.listen(Number(process.env.FC_SERVER_PORT), '0.0.0.0');
