// From JSON to statements that can be asked. Whatever is not understood is refused when it is written: an element that is passed over is a hole.
import { Fault, type FieldProblem } from '../errors.ts';
import { nearest } from '../near.ts';
import { type Condition, conditionOf, NULL, type Operator, operatorOf, operators } from './conditions.ts';
import { canFit, partsOf } from './names.ts';
import { foldedKey, hasWildcard, matches, type Template, templateOf, variablesOf } from './pattern.ts';
import { keyOf, type Vocabulary } from './vocabulary.ts';

export interface Statement {
  readonly policyId: string;
  readonly policyName: string;
  readonly index: number;
  readonly sid: string | undefined;
  readonly effect: 'Allow' | 'Deny';
  /** Of the vocabulary, in lower case. */
  readonly actions: ReadonlySet<string>;
  /** Undefined: every one. */
  readonly resources: readonly Template[] | undefined;
  /** The resources are those that it is not about. */
  readonly notResources: boolean;
  /** Whom it is about; `*`: everybody. Undefined: that is said by attaching the policy. */
  readonly principals: ReadonlySet<string> | undefined;
  /** The principals are those that it is not about. */
  readonly notPrincipals: boolean;
  readonly conditions: readonly Condition[];
}

export interface CompiledPolicy {
  readonly id: string;
  readonly name: string;
  readonly statements: readonly Statement[];
}

const MOST_BYTES = 65_536;
const MOST_STATEMENTS = 200;
const MOST_VALUES = 500;
const LONGEST = 2048;
const VERSION = '2012-10-17';
/** Knows no variables: `${` is text. What a resource policy has that does not say its version. */
const OLDER = '2008-10-17';
const TOP = ['Version', 'Id', 'Statement'];
const ELEMENTS = ['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition'];
const EVERYBODY = '*';
const EVERYTHING = '*';
const PRINCIPALS = ['Principal', 'NotPrincipal'];

type Fields = Readonly<Record<string, unknown>>;
const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null && !Array.isArray(value);
const maybe = (near: string | undefined): string => (near === undefined ? '' : `; did you mean ${near}?`);
/** An empty tenant is this one; a policy is only ever asked about its own, so any will do. */
const expanded = (text: string): string => text.replace(/^crn:cloud::/, 'crn:cloud:*:');
const join = (path: string, key: string | number): string => (path === '' ? String(key) : `${path}.${key}`);

class Reader {
  readonly problems: FieldProblem[] = [];
  readonly #vocabulary: Vocabulary;
  readonly #actions: ReadonlyMap<string, string>;
  #variables = true;

  constructor(vocabulary: Vocabulary) {
    this.#vocabulary = vocabulary;
    this.#actions = new Map(vocabulary.actions.map((action) => [action.toLowerCase(), action]));
  }

  say(path: string, message: string): void {
    if (this.problems.length < 100) this.problems.push({ path, message });
  }

  /** Text or a list of texts. */
  texts(value: unknown, path: string): { text: string; path: string }[] {
    const all = Array.isArray(value) ? value : [value];
    if (Array.isArray(value) && value.length === 0) this.say(path, 'give at least one');
    if (all.length > MOST_VALUES) this.say(path, `at most ${MOST_VALUES}`);
    return all.slice(0, MOST_VALUES).flatMap((each: unknown, index) => {
      const at = Array.isArray(value) ? join(path, index) : path;
      if (typeof each !== 'string') this.say(at, 'give text');
      else if (each === '' || each.length > LONGEST) this.say(at, `give 1 to ${LONGEST} characters`);
      else return [{ text: each, path: at }];
      return [];
    });
  }

  unknown(of: Fields, known: readonly string[], path: string): void {
    for (const key of Object.keys(of)) {
      if (known.includes(key)) continue;
      const note = key === 'Principal' || key === 'NotPrincipal' ? '; whom it is for is said by attaching it' : maybe(nearest(key, known));
      this.say(join(path, key), `there is no such element${note}`);
    }
  }

  document(value: unknown): Omit<Statement, 'policyId' | 'policyName'>[] {
    if (!isObject(value)) {
      this.say('', 'give a JSON object with Version and Statement');
      return [];
    }
    this.unknown(value, TOP, '');
    const version = value['Version'] === undefined && this.#vocabulary.resourcePolicy !== undefined ? OLDER : value['Version'];
    this.#variables = version === VERSION;
    if (!this.#variables && (this.#vocabulary.resourcePolicy === undefined || version !== OLDER)) this.say('Version', `give "${VERSION}"`);
    if (value['Id'] !== undefined && (typeof value['Id'] !== 'string' || value['Id'].length > 256)) this.say('Id', 'give text of at most 256 characters');
    const given = value['Statement'];
    const list = Array.isArray(given) ? (given as unknown[]) : given === undefined ? [] : [given];
    if (list.length === 0) this.say('Statement', 'give at least one statement');
    if (list.length > MOST_STATEMENTS) {
      this.say('Statement', `at most ${MOST_STATEMENTS} statements`);
      return [];
    }
    return list.flatMap((each, index) => {
      const statement = this.statement(each, Array.isArray(given) ? `Statement.${index}` : 'Statement', index);
      return statement === undefined ? [] : [statement];
    });
  }

  statement(value: unknown, path: string, index: number): Omit<Statement, 'policyId' | 'policyName'> | undefined {
    if (!isObject(value)) {
      this.say(path, 'give an object with Effect, Action and Resource');
      return undefined;
    }
    const form = this.#vocabulary.resourcePolicy;
    this.unknown(value, form === undefined ? ELEMENTS : [...ELEMENTS, ...PRINCIPALS], path);
    const sid = value['Sid'];
    if (sid !== undefined && (typeof sid !== 'string' || !/^[A-Za-z0-9 ._-]{0,128}$/.test(sid)))
      this.say(join(path, 'Sid'), 'give at most 128 letters, digits, spaces, and . _ -');
    const effect = value['Effect'];
    if (effect !== 'Allow' && effect !== 'Deny') this.say(join(path, 'Effect'), 'use Allow or Deny');
    const one = (name: string): 'yes' | 'not' | undefined => {
      const plain = value[name] !== undefined;
      const negated = value[`Not${name}`] !== undefined;
      if (plain && negated) this.say(join(path, `Not${name}`), `give ${name} or Not${name}, not both`);
      if (!plain && !negated) this.say(join(path, name), `give ${name} or Not${name}; it is required`);
      return plain ? 'yes' : negated ? 'not' : undefined;
    };
    const action = one('Action');
    const resource = one('Resource');
    const named =
      action === undefined
        ? new Set<string>()
        : this.actions(value[action === 'yes' ? 'Action' : 'NotAction'], join(path, action === 'yes' ? 'Action' : 'NotAction'));
    const actions = action === 'not' ? new Set([...this.#actions.keys()].filter((each) => !named.has(each))) : named;
    const resources =
      resource === undefined
        ? []
        : this.resources(value[resource === 'yes' ? 'Resource' : 'NotResource'], join(path, resource === 'yes' ? 'Resource' : 'NotResource'));
    const principal = form === undefined ? undefined : one('Principal');
    const whom = `${principal === 'not' ? 'Not' : ''}Principal`;
    // What is allowed to all but some is allowed to people who do not exist yet.
    if (principal === 'not' && effect === 'Allow') this.say(join(path, whom), 'only a Deny may say NotPrincipal');
    const principals = principal === undefined ? undefined : this.principals(value[whom], join(path, whom));
    const conditions = value['Condition'] === undefined ? [] : this.conditions(value['Condition'], join(path, 'Condition'));
    return {
      index,
      sid: typeof sid === 'string' && sid !== '' ? sid : undefined,
      effect: effect === 'Deny' ? 'Deny' : 'Allow',
      actions,
      resources: resource === 'yes' && resources.some(({ text }) => text === EVERYTHING) ? undefined : resources,
      notResources: resource === 'not',
      principals,
      notPrincipals: principal === 'not',
      conditions,
    };
  }

  actions(value: unknown, path: string): Set<string> {
    const found = new Set<string>();
    for (const { text, path: at } of this.texts(value, path)) {
      const wanted = text.toLowerCase();
      if (!hasWildcard(wanted)) {
        if (this.#actions.has(wanted)) found.add(wanted);
        else this.say(at, `there is no action ${JSON.stringify(text)}${maybe(nearest(text, this.#vocabulary.actions))}`);
        continue;
      }
      let any = false;
      for (const known of this.#actions.keys()) {
        if (!matches(wanted, known)) continue;
        found.add(known);
        any = true;
      }
      if (!any)
        this.say(
          at,
          `no action fits ${JSON.stringify(text)}; ${this.#vocabulary.resourcePolicy === undefined ? 'actions are <resource>:<operation>, such as instance:create' : `there is ${this.#vocabulary.actions[0]}, and others`}`,
        );
    }
    return found;
  }

  principals(value: unknown, path: string): Set<string> {
    if (value === EVERYBODY) return new Set([EVERYBODY]);
    if (!isObject(value) || Object.keys(value).length === 0) {
      this.say(path, 'give "*", or an object such as { "AWS": "<account>" }');
      return new Set();
    }
    return new Set(
      Object.entries(value).flatMap(([kind, given]) =>
        this.texts(given, join(path, kind)).flatMap(({ text, path: at }) => {
          const read = kind === 'AWS' && text === EVERYBODY ? { name: EVERYBODY } : this.#vocabulary.resourcePolicy?.principal(kind, text);
          if (read !== undefined && 'name' in read) return [read.name];
          this.say(at, read?.problem ?? 'there is no such principal');
          return [];
        }),
      ),
    );
  }

  resources(value: unknown, path: string): Template[] {
    const form = this.#vocabulary.resourcePolicy;
    return this.texts(value, path).flatMap(({ text: written, path: at }) => {
      const text = this.readable(written);
      if (!this.variables(text, at)) return [];
      const problem = form === undefined ? (text === EVERYTHING ? undefined : this.resourceProblem(text)) : form.resource(text);
      if (problem !== undefined) {
        this.say(at, problem);
        return [];
      }
      return [templateOf(expanded(text), { wildcards: true })];
    });
  }

  /** A pattern that no resource can ever fit is a mistake. */
  resourceProblem(text: string): string | undefined {
    const { services } = this.#vocabulary;
    if (text.startsWith('crn:') && canFit(expanded(text), services)) return undefined;
    const example = 'such as crn:cloud:*:instance:instance/web-*';
    const open = (part: string): boolean => hasWildcard(part) || part.includes('${');
    if (!text.startsWith('crn:')) return `give * or a resource name, ${example}`;
    const parts = partsOf(text);
    if (parts === undefined) return `a resource name has five parts, ${example}`;
    const [, cloud, tenant, service, rest] = parts as [string, string, string, string, string];
    if (cloud !== 'cloud' && !open(cloud)) return `the second part is "cloud", ${example}`;
    if (!open(service) && !services.includes(service)) return `there is no service ${JSON.stringify(service)}${maybe(nearest(service, services))}`;
    if (!open(tenant) && canFit(`crn:cloud:*:${service}:${rest}`, services)) return `the third part is the id of a tenant, * or nothing, ${example}`;
    if (!open(service)) return `after the service stands ${service}/<name or id>, ${example}`;
    return `no resource has such a name; they are crn:cloud:<tenant id, * or nothing>:<service>:<service>/<name or id>, ${example}`;
  }

  /** What stands in a document, as this version of the language reads it. */
  readable(text: string): string {
    return this.#variables ? text : text.replaceAll('${', '${$}{');
  }

  variables(text: string, path: string): boolean {
    const found = variablesOf(text);
    if (found === undefined) {
      this.say(path, "a variable is ${key} or ${key, 'default'}");
      return false;
    }
    let good = true;
    for (const { key } of found) {
      if (['*', '?', '$'].includes(key)) continue;
      const known = keyOf(this.#vocabulary, key);
      if (known === undefined || known.many === true) {
        this.say(
          path,
          known === undefined
            ? `there is no key ${JSON.stringify(key)}${maybe(this.nearKey(key))}`
            : `${known.name} has several values and cannot be a variable`,
        );
        good = false;
      }
    }
    return good;
  }

  nearKey(key: string): string | undefined {
    return nearest(
      key,
      this.#vocabulary.keys.map(({ name }) => name),
    );
  }

  conditions(value: unknown, path: string): Condition[] {
    if (!isObject(value)) {
      this.say(path, 'give an object: { "<operator>": { "<key>": "<value>" } }');
      return [];
    }
    return Object.entries(value).flatMap(([name, keys]) => {
      const at = join(path, name);
      const found = operatorOf(name);
      if (found === undefined) {
        const bare = name.replace(/^For(AnyValue|AllValues):/, '');
        this.say(at, `there is no operator ${JSON.stringify(name)}${maybe(nearest(bare, [...operators.keys(), NULL.name]))}`);
        return [];
      }
      if (!isObject(keys) || Object.keys(keys).length === 0) {
        this.say(at, 'give an object: { "<key>": "<value>" }');
        return [];
      }
      const seen = new Set<string>();
      return Object.entries(keys).flatMap(([key, given]) => {
        const where = join(at, key);
        if (seen.has(foldedKey(key))) this.say(where, 'this key stands here twice');
        seen.add(foldedKey(key));
        const known = keyOf(this.#vocabulary, key);
        if (known === undefined) {
          this.say(where, `there is no key ${JSON.stringify(key)}${maybe(this.nearKey(key))}`);
          return [];
        }
        if (!known.types.some((type) => found.operator.types.includes(type))) {
          this.say(
            where,
            `${found.operator.name} does not fit ${known.name}, which is ${known.types.map((type) => (type === 'ip' ? 'an address' : `a ${type}`)).join(' or ')}`,
          );
          return [];
        }
        if (known.many === true && found.set === undefined && found.operator !== NULL) {
          this.say(where, `${known.name} has several values: use ForAnyValue:${name} or ForAllValues:${name}`);
          return [];
        }
        const values = this.values(given, where, found.operator);
        return values.length === 0 ? [] : [conditionOf(name, key, values)];
      });
    });
  }

  values(given: unknown, path: string, operator: Operator | typeof NULL): string[] {
    const takesText = operator !== NULL && operator.types.includes('string');
    const all = Array.isArray(given) ? (given as unknown[]) : [given];
    if (all.length === 0) this.say(path, 'give at least one value');
    if (all.length > MOST_VALUES) this.say(path, `at most ${MOST_VALUES} values`);
    return all.slice(0, MOST_VALUES).flatMap((each, index) => {
      const at = Array.isArray(given) ? join(path, index) : path;
      if (typeof each !== 'string' && (takesText || (typeof each !== 'number' && typeof each !== 'boolean'))) {
        this.say(at, takesText ? `${operator.name} compares text; give it in quotes` : 'give text, a number, true or false');
        return [];
      }
      const text = takesText ? this.readable(String(each)) : String(each);
      if (text.length > LONGEST) {
        this.say(at, `give at most ${LONGEST} characters`);
        return [];
      }
      if (!this.variables(text, at)) return [];
      // As in AWS, variables are for texts and names only: what they would be as a number or date shows too late.
      const problem = !takesText && text.includes('${') ? `${operator.name} takes no variables` : operator.check(text);
      if (problem !== undefined) this.say(at, problem);
      return problem === undefined ? [text] : [];
    });
  }
}

/** All that is wrong with a document, and its statements as far as they could be read. Paths begin inside the document. */
export function readDocument(
  document: unknown,
  vocabulary: Vocabulary,
): { problems: FieldProblem[]; statements: Omit<Statement, 'policyId' | 'policyName'>[] } {
  const reader = new Reader(vocabulary);
  let bytes: number;
  try {
    bytes = new TextEncoder().encode(JSON.stringify(document) ?? '').length;
  } catch {
    return { problems: [{ path: '', message: 'this is not JSON, or nested too deep' }], statements: [] };
  }
  if (bytes > MOST_BYTES) return { problems: [{ path: '', message: `a document has at most ${MOST_BYTES / 1024} KiB` }], statements: [] };
  const statements = reader.document(document);
  return { problems: reader.problems, statements };
}

/** Throws `invalid_input`; the paths of its details begin with `document`. */
export function compilePolicy(id: string, name: string, document: unknown, vocabulary: Vocabulary): CompiledPolicy {
  const { problems, statements } = readDocument(document, vocabulary);
  if (problems.length > 0) {
    const [first] = problems as [FieldProblem];
    throw new Fault('invalid_input', `The policy document is not valid: ${first.path === '' ? '' : `${first.path}: `}${first.message}`, {
      details: problems.map(({ path, message }) => ({ path: path === '' ? 'document' : `document.${path}`, message })),
      hint: 'cloud policy lint --document @policy.json',
    });
  }
  return { id, name, statements: statements.map((statement) => ({ ...statement, policyId: id, policyName: name })) };
}
