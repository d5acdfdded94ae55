// A vitest reporter that writes the counts, and each skip with its reason, to the file named in CLOUD_TEST_COUNT: what
// `npm test` adds up. A file that cannot be loaded and an error outside any test count as failures.

import { writeFileSync } from 'node:fs';
import { relative } from 'node:path';

/** @typedef {import('vitest/node').TestModule} TestModule */
/** @typedef {import('vitest/node').TestCase} TestCase */

export default class CountTests {
  /** @param {readonly TestModule[]} modules @param {readonly unknown[]} errors */
  onTestRunEnd(modules, errors) {
    const count = { passed: 0, failed: errors.length, skipped: /** @type {{ name: string, reason: string }[]} */ ([]) };
    for (const module of modules) {
      const file = relative(process.cwd(), module.moduleId);
      let failedHere = 0;
      for (const test of module.children.allTests()) {
        const result = test.result();
        if (result.state === 'passed') count.passed += 1;
        else if (result.state === 'failed') failedHere += 1;
        else
          count.skipped.push({
            name: `${file} > ${test.fullName}`,
            reason: (result.state === 'skipped' && result.note) || (reasonIn(test) ?? 'no reason given'),
          });
      }
      // A suite that fails as a whole (its file does not load, its beforeAll throws) may have no failed test to show for it.
      count.failed += failedHere > 0 || module.ok() ? failedHere : 1;
    }
    const file = process.env.CLOUD_TEST_COUNT;
    if (file) writeFileSync(file, JSON.stringify(count));
  }
}

/**
 * Where a whole block is skipped, its title may say why: "… (skipped: reason)"; or its beforeAll failed.
 * @param {TestCase} test
 */
function reasonIn(test) {
  const said = /\(skipped: ([^)]+)\)/.exec(test.fullName)?.[1];
  return said ?? (test.parent.type === 'suite' && test.parent.errors().length > 0 ? 'the set-up of its block failed' : undefined);
}
