/** The names that people give operating systems and architectures, and ours for them. */
export const OS_ALIASES = {
  linux: 'linux',
  darwin: 'darwin',
  macos: 'darwin',
  windows: 'windows',
  any: 'any',
} as const;

export const ARCH_ALIASES = {
  x64: 'x64',
  x86_64: 'x64',
  amd64: 'x64',
  arm64: 'arm64',
  aarch64: 'arm64',
  any: 'any',
} as const;
