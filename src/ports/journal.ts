/** What a journal found of itself that could not be read: told, never thrown. */
export interface JournalDamage {
  /** From 1. */
  readonly line: number;
  /** Where it begins in the file, bytes. */
  readonly offset: number;
  readonly bytes: number;
  /** For people. */
  readonly what: string;
}

/** An append-only file of JSON records. Who owns it decides when it is rewritten, by `bytes`. */
export interface Journal {
  /** Size of the file. */
  readonly bytes: number;
  readonly isRewriting: boolean;
  /**
   * Written when it returns, so that a crash of this process loses nothing; a power cut may, until `sync`.
   *
   * @throws MeshError `io` where the disk refuses it, `limit` where the record or the journal would exceed its bound;
   *   the journal is as it was before
   */
  append(entry: object): void;
  /**
   * Resolves once everything appended before the call is on the disk. Calls at once share one request to the disk.
   *
   * @throws MeshError `io`
   */
  sync(): Promise<void>;
  /**
   * Replaces everything by these entries and what is appended from now on; at a crash either the old content is there
   * or the new. Must not be called while `isRewriting`.
   *
   * @param entries are read while it goes on: they must not change
   * @throws MeshError `io`; the old content stays in use
   */
  rewrite(entries: readonly object[]): Promise<void>;
  /** Ends what is under way and gives the file up; nothing may be called after. */
  close(): Promise<void>;
}

/** A journal and what it held. */
export interface OpenedJournal {
  /** In the order of their appending; parsed JSON, its shape not checked. */
  readonly entries: readonly unknown[];
  readonly damage: readonly JournalDamage[];
  readonly journal: Journal;
}
