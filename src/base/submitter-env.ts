type Variables = Readonly<Record<string, string | undefined>>;

const INHERITED = /^(LANG|LC_[A-Z]+|TZ|TERM|CI|NODE_ENV)$/;
const VARIABLE_NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;

/** True of a variable that a job gets from its submitter without being asked for. */
export const isInheritedVariable = (name: string): boolean => INHERITED.test(name);

/** The variables that a job gets from its submitter without being asked for (INTERFACE "A job's environment"). */
export function inheritedVariables(from: Variables): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(from)) {
    if (value !== undefined && isInheritedVariable(name)) env[name] = value;
  }
  return env;
}

/** @returns what is wrong with passing this variable on, or null */
export function variableNameFault(name: string): string | null {
  if (!VARIABLE_NAME.test(name)) return `"${name}" is not a variable name`;
  return name.startsWith('MESHWORK_') ? `${name}: MESHWORK_ variables are meshwork's own and are not passed on` : null;
}
