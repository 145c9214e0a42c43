import { describe, expect, test } from 'vitest';
import { base32, type MeshId } from '../../../src/base/ids.ts';
import { type Hello, HELLO_CHARS_MAX, readHello, readHelloAnswer } from '../../../src/wire/hello.ts';
import { PROTOCOL_VERSION } from '../../../src/wire/version.ts';

const MESH = base32(new Uint8Array(32).fill(1)) as MeshId;
const OTHER = base32(new Uint8Array(32).fill(2)) as MeshId;
const HELLO: Hello = {
  type: 'hello',
  protocol: PROTOCOL_VERSION,
  mesh: MESH,
  incarnation: 4,
  name: 'desk',
  link_id: 'a'.repeat(26),
};

describe('a hello', () => {
  test('is read as it was written', () => {
    expect(readHello(JSON.stringify(HELLO), MESH)).toEqual({ ok: true, value: HELLO });
  });

  test('of another version is told by its version, whatever else it holds', () => {
    const later = JSON.stringify({ type: 'hello', protocol: 2, meshes: [], name: 7 });
    expect(readHello(later, MESH)).toEqual({ ok: false, error: { code: 'protocol_mismatch', theirs: 2 } });
  });

  test('of another mesh is told by its mesh', () => {
    expect(readHello(JSON.stringify(HELLO), OTHER)).toEqual({ ok: false, error: { code: 'wrong_mesh', theirs: MESH } });
  });

  test.each([
    ['no JSON', '{'],
    ['nothing', ''],
    ['null', 'null'],
    ['another message', '{"type":"ping"}'],
    ['a version that is none', '{"type":"hello","protocol":"1"}'],
    ['a strange name', JSON.stringify({ ...HELLO, name: 'a b' })],
    ['a long name', JSON.stringify({ ...HELLO, name: 'a'.repeat(64) })],
    ['a short link id', JSON.stringify({ ...HELLO, link_id: 'abc' })],
    ['a negative incarnation', JSON.stringify({ ...HELLO, incarnation: -1 })],
    ['a mesh that is none', JSON.stringify({ ...HELLO, mesh: '../etc/passwd' })],
    ['unknown fields', JSON.stringify({ ...HELLO, roles: ['admin'] })],
    ['too much', JSON.stringify({ ...HELLO, name: 'a'.repeat(HELLO_CHARS_MAX) })],
  ])('is refused where it is %s', (_what, text) => {
    expect(readHello(text, MESH)).toMatchObject({ ok: false, error: { code: 'bad_hello' } });
  });

  test('may be answered with a refusal', () => {
    const refusal = { type: 'refuse', code: 'protocol_mismatch', protocol: 9 };
    expect(readHelloAnswer(JSON.stringify(refusal), MESH)).toEqual({ ok: false, error: { code: 'refused', refusal } });
    expect(readHelloAnswer(JSON.stringify(HELLO), MESH)).toEqual({ ok: true, value: HELLO });
  });
});
