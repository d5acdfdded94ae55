// A client of a running daemon: a network and an instance in it, an error that says what is wrong, and what happened meanwhile.
import { connect, isFault } from '@thecloud/sdk';

await using cloud = connect();

await cloud.vpc.create({ name: 'example', cidr: '10.77.0.0/16' }, { wait: true });
try {
  const web = await cloud.instance.create({ name: 'example-web', image: 'busybox', type: 'nano', vpc: 'example', command: 'sleep 1h' }, { wait: true });
  console.log(`${web.name} is ${web.state} at ${web.address}`);

  try {
    await cloud.instance.get('exmaple-web');
  } catch (error) {
    if (!isFault(error, 'not_found')) throw error;
    console.log(`${error.code}: ${error.message}`);
  }

  const { items } = await cloud.event.list({ resource: `instance/${web.id}` });
  for (const { type, message } of items) console.log(`${type}: ${message}`);
} finally {
  await cloud.instance.delete('example-web', {}, { wait: true });
  await cloud.vpc.delete('example', {}, { wait: true });
}
