import { conformance } from '../../services/zone/driver.conformance.ts';
import { memoryDrivers } from './index.ts';

conformance('memory', async () => ({ driver: memoryDrivers().drivers.dns, close: async () => {} }));
