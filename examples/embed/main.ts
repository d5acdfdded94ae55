// A program with a cloud of its own inside, no daemon: here for a queue that outlives the process. Run it twice on one directory.
import { embed } from '@thecloud/sdk/embed';

const [dataDir] = process.argv.slice(2);
if (dataDir === undefined) throw new Error('Say where to keep the data: node examples/embed/main.ts /tmp/jobs');

await using cloud = await embed({ dataDir, driver: 'memory' });

const { items } = await cloud.queue.list();
if (!items.some(({ name }) => name === 'jobs')) {
  await cloud.queue.create({ name: 'jobs', visibilityTimeout: 60 });
  for (const body of ['one', 'two', 'three']) await cloud.queue.send('jobs', { body });
  console.log('sent three jobs');
}

const [job] = (await cloud.queue.receive('jobs')).items;
if (job === undefined) {
  console.log('nothing left to do');
} else {
  console.log(`working on ${job.body}`);
  await cloud.queue.ack('jobs', { receipt: job.receipt });
  console.log(`done; ${(await cloud.queue.get('jobs')).depth} left`);
}
