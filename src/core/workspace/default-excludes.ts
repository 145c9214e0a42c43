/**
 * What is left out of a project that git knows nothing of, as patterns of .gitignore(5): folders of dependencies, which
 * are prepared instead, and caches. Products (`dist`, `build`, `out`) are not among them, since commands may read them.
 * A `.meshworkignore` takes one back with `!node_modules/`.
 */
export const PLAIN_EXCLUDES = `node_modules/
bower_components/
.venv/
__pycache__/
*.pyc
.mypy_cache/
.pytest_cache/
.ruff_cache/
.tox/
.nox/
.cache/
.gradle/
.parcel-cache/
.turbo/
.terraform/
.svn/
.hg/
.DS_Store
`;

/** Files that mark a folder, next to what they make: a Cargo.toml makes `target`. */
export const MADE_BESIDE: Readonly<Record<string, string>> = { 'Cargo.toml': '/target/\n' };
/** Files that mark the folder they lie in as made by a tool: a virtual environment, a cache (bford.info/cachedir). */
export const MADE_FOLDER_MARKS: readonly string[] = ['pyvenv.cfg', 'CACHEDIR.TAG'];
