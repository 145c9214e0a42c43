const SEEDS_DEFAULT = 60;

/**
 * The seeds of a run: half fixed, so that what passed goes on passing, half new each time. MESHWORK_SEEDS says how many,
 * MESHWORK_SEED runs one alone (a failure prints it).
 */
export function simulationSeeds(): number[] {
  const one = process.env['MESHWORK_SEED'];
  if (one !== undefined && one !== '') return [Number(one)];
  const count = Number(process.env['MESHWORK_SEEDS'] ?? SEEDS_DEFAULT);
  const fixed = Math.ceil(count / 2);
  return Array.from({ length: count }, (_, i) => (i < fixed ? i + 1 : 1 + Math.floor(Math.random() * 0xffff_ffff)));
}

/** A share of the run's seeds, at least two: from both ends, since the fixed ones are first and the new ones last. */
export function shareOfSeeds(share: number): number[] {
  const all = simulationSeeds();
  const count = Math.min(all.length, Math.max(2, Math.ceil(all.length * share)));
  return [...all.slice(0, Math.ceil(count / 2)), ...all.slice(all.length - Math.floor(count / 2))];
}

/** Runs one seed, and names it in whatever it throws. */
export function runSeed(seed: number, run: (seed: number) => void): void {
  try {
    run(seed);
  } catch (error) {
    throw new Error(`seed ${seed} failed; to repeat it alone set MESHWORK_SEED=${seed}: ${String(error)}`, {
      cause: error,
    });
  }
}
