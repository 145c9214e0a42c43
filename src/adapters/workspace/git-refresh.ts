import { textOfBytes, isUtf8 } from '../../base/byte-text.ts';
import { createGit } from './git-command.ts';

const AT_ONCE_MAX = 4;

/**
 * Lets git note what it needs to know of the files that were just placed: `git status` does that by itself, but what
 * version stamps use (`git diff-index --quiet HEAD`) takes a file for changed where the index says nothing of it.
 *
 * @param tops work trees, absolute bytes. Where git is missing or fails, commands there will say so themselves
 */
export async function refreshIndexes(
  tops: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const named = tops.filter((top) => isUtf8(top)).map((top) => textOfBytes(top));
  for (let at = 0; at < named.length; at += AT_ONCE_MAX) {
    await Promise.all(
      // It exits with 1 where files differ from what is staged, which is no failure.
      named.slice(at, at + AT_ONCE_MAX).map((top) => createGit(top, env).run(['update-index', '-q', '--refresh'])),
    );
  }
}
