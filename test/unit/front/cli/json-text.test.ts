import { expect, test } from 'vitest';
import { jsonText } from '../../../../src/front/cli/output.ts';

const hostile = {
  label: '\u009b2J\u009d0;owned\u009c',
  del: '\u007f',
  bidi: '\u202eevil\u2066',
  text: 'é\n\u001b[0m',
  plain: '\\u009b',
};

test.each([0, 2])(
  'JSON from other nodes means the same and holds nothing that a terminal obeys (indent %i)',
  (indent) => {
    const text = jsonText(hostile, indent);
    expect(JSON.parse(text)).toEqual(hostile);
    expect(text.replaceAll('\n', '')).not.toMatch(/[\p{Cc}\p{Cf}\u2028\u2029]/u);
    expect(text).toContain('é');
  },
);
