/** What the model is told of the whole; clients cut it at 2,048 characters. */
export const INSTRUCTIONS = `meshwork runs commands on the least-loaded capable machine of the user's own mesh, which may be this one, as if they ran here: same relative directory, exit code and output.

Use cluster_bash for builds, tests, compilers, type checks and linters over about 5 s. Use the plain shell for git, docker, servers, watchers, package installs and quick commands. Use parallel_execute for many independent commands, offload_to where the user names a machine, cluster_status to see the machines, explain_route for why a command runs where it does.

- Pass an absolute cwd inside the project; where the repository has several git work trees it is needed.
- Shell state does not persist: cd, variables and functions last for one command. stdin is empty. What a command leaves running is ended when it exits.
- A command leaves only for a machine of the same platform and tool versions. Uncommitted files are sent and changed unignored files return, ignored products stay there unless in outputs (globs). changes lists what returned, what is held back and what was left there.
- Read notices before you trust a pass or a failure. executed_on and route say where it ran and why.
- When a failure on another machine concerns missing tools, variables, files or localhost, run it again with auto_route false before you edit code.
- state "running" or "queued": the command took longer than wait_s and goes on. Use job_output with its job_id; do not start it again. background true returns the id at once. job_list finds a lost id, job_cancel ends a job.
- isError: meshwork refused or failed; a command that fails by itself has its return_code. reason "timeout": longer than timeout_s (default 3600, execution alone). reason "unknown" or "lost": it may have run; look before you run it again.
- Long output keeps its beginning and end; a notice says from which offset job_output reads on.`;
