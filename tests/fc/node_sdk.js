// Asynchronous invocations through the methods of the official Node.js SDK: prints what it got as one JSON document.
// Run by test_node_sdk.py as: node node_sdk.js URL ACCOUNT KEY SECRET
'use strict';

const FC = require('@alicloud/fc2');

const [endpoint, account, accessKeyID, accessKeySecret] = process.argv.slice(2);
const client = new FC(account, {endpoint, accessKeyID, accessKeySecret, region: 'cn-hongkong'});
const ASYNC = {'x-fc-invocation-type': 'Async'};
const INVOCATIONS = '/services/demo/functions/f/stateful-async-invocations';

async function refusal(call) {
  try {
    await call();
  } catch (error) {
    return {name: error.name, code: error.code, message: error.message};
  }
  return null;
}

async function main() {
  const seen = {};
  seen.put = (await client.putFunctionAsyncConfig('demo', 'f', 'LATEST', {
    statefulInvocation: true, maxAsyncRetryAttempts: 1, maxAsyncEventAgeInSeconds: 60
  })).data;
  seen.got = (await client.getFunctionAsyncConfig('demo', 'f', 'LATEST')).data;
  seen.configs = (await client.listFunctionAsyncConfigs('demo', 'f')).data;
  const accepted = await client.invokeFunction('demo', 'f', 'event', {
    ...ASYNC, 'x-fc-stateful-async-invocation-id': 'job-1', 'x-fc-async-delay': '60'
  });
  seen.accepted = accepted.data;
  seen.requestId = accepted.headers['x-fc-request-id'];
  await client.invokeFunction('demo', 'f', Buffer.from('other'), {...ASYNC, 'x-fc-stateful-async-invocation-id': 'run-1'});
  seen.one = (await client.get(`${INVOCATIONS}/job-1`)).data;
  seen.all = (await client.get(INVOCATIONS)).data;
  seen.some = (await client.get(INVOCATIONS, {
    limit: 1, status: 'Enqueued', invocationIdPrefix: 'job', sortOrderByTime: 'asc', includePayload: true,
    startedTimeBegin: seen.one.startedTime, startedTimeEnd: seen.one.startedTime
  })).data;
  seen.none = (await client.get(INVOCATIONS, {status: 'Failed'})).data;
  seen.functions = (await client.get('/stateful-async-invocation-functions', {limit: 10})).data;
  seen.stopped = (await client.put(`${INVOCATIONS}/job-1`)).data;
  seen.after = (await client.get(`${INVOCATIONS}/job-1`)).data.status;
  seen.again = await refusal(() => client.put(`${INVOCATIONS}/job-1`));
  seen.missing = await refusal(() => client.get(`${INVOCATIONS}/no`));
  seen.tail = await refusal(() => client.invokeFunction('demo', 'f', 'e', {...ASYNC, 'x-fc-log-type': 'Tail'}));
  await client.deleteFunctionAsyncConfig('demo', 'f', 'LATEST');
  seen.gone = await refusal(() => client.getFunctionAsyncConfig('demo', 'f', 'LATEST'));
  process.stdout.write(JSON.stringify(seen));
}

main().catch(error => {
  console.error(error);
  process.exit(1);
});
