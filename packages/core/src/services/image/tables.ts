// Which instance was made from which image. Kept from its creation to its end: what it runs must not go, and must not become something else.
import type { Kysely } from 'kysely';
import { type Migration, statements } from '../../kernel/migrate.ts';

interface ImageTables {
  image_use: {
    instance_id: string;
    tenant: string;
    instance_name: string;
    /** The tenant's image; null: one of the host's. */
    image_id: string | null;
    /** What it runs; null until that is known. */
    content: string | null;
    /** The instance's generation for which the image was last asked for. */
    asked: number;
  };
}

export const uses = (sql: unknown): Kysely<ImageTables> => sql as Kysely<ImageTables>;

export const migrations: Migration[] = [
  {
    id: 'image-001',
    up: statements(
      `create table image_use (instance_id text not null primary key, tenant text not null, instance_name text not null, image_id text,
        content text, asked bigint not null)`,
      'create index image_use_image on image_use (image_id)',
      'create index image_use_content on image_use (content)',
      // Until now a row said only that a pull was asked for; what came of it was, and stays, an image of the host's.
      "delete from r_image where state = 'available'",
    ),
  },
];
