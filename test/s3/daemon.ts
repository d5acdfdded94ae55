export class S3Daemon {
  static async start(): Promise<never> {
    throw new Error('soon');
  }
}
