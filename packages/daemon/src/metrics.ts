// `/metrics` in Prometheus' text form. Loaded at the first scrape only: the core counts by itself.
import type { Core } from '@thecloud/core';
import { Counter, collectDefaultMetrics, Gauge, Registry } from 'prom-client';

const registries = new WeakMap<Core, Registry>();

export function metricsOf(core: Core): Registry {
  const known = registries.get(core);
  if (known !== undefined) return known;
  const registry = new Registry();
  registries.set(core, registry);
  collectDefaultMetrics({ register: registry });
  const labelNames = ['service', 'operation', 'outcome'];
  const totals = (name: string, help: string, value: 'count' | 'seconds') =>
    new Counter({
      name,
      help,
      labelNames,
      registers: [registry],
      collect() {
        this.reset();
        for (const { service, operation, outcome, ...call } of core.metrics().calls) this.inc({ service, operation, outcome }, call[value]);
      },
    });
  totals('cloud_calls_total', 'Calls since the start, by outcome: ok, or the error code', 'count');
  totals('cloud_call_seconds_total', 'Seconds spent in calls since the start', 'seconds');
  new Gauge({
    name: 'cloud_reconcile_queue',
    help: 'Resources waiting for their controller',
    labelNames: ['service'],
    registers: [registry],
    collect() {
      this.reset();
      for (const [service, length] of Object.entries(core.metrics().queued)) this.set({ service }, length);
    },
  });
  new Gauge({ name: 'cloud_info', help: 'Always 1', labelNames: ['version', 'installation'], registers: [registry] }).set(
    { version: core.version, installation: core.installation },
    1,
  );
  return registry;
}
