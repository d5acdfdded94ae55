// The volume port: persistent file systems and consistent copies of them.
import { type Driver, type Found, port } from '../../kernel/driver.ts';

export interface VolumeCapabilities {
  /** Whether what is written outlives the daemon. Where it does not, a volume that vanished is made anew, empty; elsewhere that is an error. */
  readonly durable: boolean;
  /** Whether a volume can hold no more than its size. */
  readonly sizeEnforced: boolean;
  /** Whether a volume grows while an instance uses it. */
  readonly onlineResize: boolean;
}

export interface VolumeSpec {
  id: string;
  sizeBytes: number;
  /** Fill a new volume with this snapshot's content. Looked at only when the volume does not exist yet. */
  fromSnapshot?: string;
}

export interface VolumeObserved {
  id: string;
  /** What the backend enforces; undefined when it enforces nothing. */
  sizeBytes: number | undefined;
  /** Bytes in use; undefined when the backend cannot tell cheaply. */
  usedBytes: number | undefined;
}

export interface SnapshotSpec {
  id: string;
  volumeId: string;
}

export interface VolumeDriver extends Driver {
  readonly capabilities: VolumeCapabilities;
  /** Makes or grows the volume. Smaller than it is: DriverError('bad_spec'). In use and growth needs it idle: DriverError('busy'). A half-made volume of a killed call is completed or made anew, never handed out. */
  ensure(spec: VolumeSpec, signal: AbortSignal): Promise<VolumeObserved>;
  /** Absent: fine. In use by an instance: DriverError('busy'). Its snapshots stay. */
  remove(id: string, signal: AbortSignal): Promise<void>;
  inspect(id: string): Promise<VolumeObserved | undefined>;
  list(): Promise<Found[]>;
  /** A copy as of one instant, also while the volume is being written to. Exists already: touches nothing. Returns the bytes it takes. */
  ensureSnapshot(spec: SnapshotSpec, signal: AbortSignal): Promise<{ sizeBytes: number }>;
  /** Absent: fine. */
  removeSnapshot(id: string, signal: AbortSignal): Promise<void>;
  listSnapshots(): Promise<Found[]>;
}

export const volumePort = port<VolumeDriver>('volume');
