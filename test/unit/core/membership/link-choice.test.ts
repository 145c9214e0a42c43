import { expect, test } from 'vitest';
import { chooseLink } from '../../../../src/core/membership/link-choice.ts';
import { A, B } from './fixtures.ts';

const ours = { peerInstance: 1, dialledByUs: true };
const theirs = { peerInstance: 1, dialledByUs: false };

test('a newer run of the peer wins over an older one, whoever dialled', () => {
  expect(chooseLink(A, B, ours, 0, { ...theirs, peerInstance: 2 })).toBe('incoming');
  expect(chooseLink(A, B, { ...ours, peerInstance: 2 }, 0, theirs)).toBe('existing');
  expect(chooseLink(B, A, { ...ours, peerInstance: 2 }, 60_000, theirs)).toBe('existing');
});

test('of two links of the same runs the one that the smaller id dialled stays', () => {
  expect(chooseLink(A, B, ours, 0, theirs)).toBe('existing');
  expect(chooseLink(A, B, theirs, 0, ours)).toBe('incoming');
  expect(chooseLink(B, A, ours, 0, theirs)).toBe('incoming');
  expect(chooseLink(B, A, theirs, 0, ours)).toBe('existing');
});

test('both ends keep the same link, in whatever order they see the two', () => {
  // At A `ours` is A's dial; the same link is `theirs` at B.
  const keptByA = (first: boolean): string => {
    const choice = first ? chooseLink(A, B, ours, 0, theirs) : chooseLink(A, B, theirs, 0, ours);
    return (choice === 'existing') === first ? 'dialled by A' : 'dialled by B';
  };
  const keptByB = (first: boolean): string => {
    const choice = first ? chooseLink(B, A, theirs, 0, ours) : chooseLink(B, A, ours, 0, theirs);
    return (choice === 'existing') === first ? 'dialled by A' : 'dialled by B';
  };
  expect([keptByA(true), keptByA(false), keptByB(true), keptByB(false)]).toEqual(Array(4).fill('dialled by A'));
});

test('a link that carried nothing for a while gives way, and so does one that its dialler dialled again', () => {
  expect(chooseLink(A, B, ours, 3001, theirs)).toBe('incoming');
  expect(chooseLink(A, B, ours, 2999, theirs)).toBe('existing');
  expect(chooseLink(A, B, ours, 0, ours)).toBe('incoming');
  expect(chooseLink(B, A, theirs, 0, theirs)).toBe('incoming');
});
