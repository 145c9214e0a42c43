import { Command, CommanderError, Option } from 'commander';
import { MeshError } from '../../base/errors.ts';
import { resolveHome, type Home } from '../../node/api-daemon.ts';
import { splitAtCommand, type SplitCommand } from './command-words.ts';
import { shownFolder } from '../../node/api-current-folder.ts';
import { EXIT_MESHWORK } from './exit-code.ts';
import { explainCommand } from './explain-command.ts';
import { addJobOptions, laterStage, type JobOptions } from './job-options.ts';
import { cancelCommand, jobsCommand, waitCommand } from './jobs-command.ts';
import { logsCommand, type LogsOptions } from './logs-command.ts';
import { mapCommand, type MapOptions } from './map-command.ts';
import {
  connect,
  downCommand,
  inviteCommand,
  joinCommand,
  leaveCommand,
  statusCommand,
  upCommand,
  type CliContext,
} from './mesh-commands.ts';
import { printText } from './output.ts';
import { applyCommand, removeWorkspacesCommand, secretsCommand, workspacesCommand } from './project-commands.ts';
import { restartCommand } from './restart-command.ts';
import { runCommand } from './run-command.ts';
import { reportFailure, reportRefusal } from './run-report.ts';
import type { UpOptions } from './up-flags.ts';

/** What the composition root hands to the CLI, so that this front knows neither the daemon's inside nor the other. */
export interface CliParts {
  readonly version: string;
  /** dist/cli.js, started again for the daemon. */
  readonly cliPath: string;
  /** Runs the daemon in this process until it is told to stop. Throws MeshError where it cannot start. */
  readonly runDaemon: (home: Home, flags: UpOptions) => Promise<number>;
  /** Runs the MCP server on stdio until its client is gone. */
  readonly runMcp: (home: Home, cliPath: string) => Promise<number>;
}

const LATER_COMMANDS = ['drain', 'undrain', 'revoke', 'doctor', 'audit'] as const;

const repeat = (value: string, previous: readonly string[] | undefined): readonly string[] => [
  ...(previous ?? []),
  value,
];

/**
 * Reads the command line and does what it says.
 *
 * @param argv without node and the script
 * @returns the exit code; everything has been printed
 */
export async function runCli(argv: readonly string[], parts: CliParts): Promise<number> {
  let exitCode = 0;
  let split: SplitCommand = { command: undefined, own: argv, words: [] };
  const isJson = (): boolean => optionsOf(split.own).includes('--json');
  const program = new Command('meshwork');
  const context = (): CliContext => {
    const { home } = program.opts<{ home?: string }>();
    return { home: resolveHome(home, process.env), cliPath: parts.cliPath, json: isJson() };
  };
  const act =
    (action: (...args: never[]) => Promise<number>) =>
    async (...args: unknown[]): Promise<void> => {
      exitCode = await (action as (...args: unknown[]) => Promise<number>)(...args);
    };
  program
    .description('Run commands on the least-loaded machine of your desk and LAN, with no server in the middle.')
    .option('--home <dir>', 'all that this node owns (MESHWORK_HOME; several nodes may run on one machine)')
    .option('--json', 'print one JSON document on stdout and nothing else there')
    .version(parts.version, '--version')
    .exitOverride()
    .configureOutput({ writeOut: printText, writeErr: () => undefined })
    .configureHelp({ showGlobalOptions: true })
    .showSuggestionAfterError(true)
    .addHelpText('after', '\nExample:\n  $ meshwork up && meshwork run -- make -j8');
  addMeshCommands(program, { context, act, parts });
  addJobCommands(program, { context, act, words: () => split.words });
  addKeptJobCommands(program, { context, act });
  addProjectCommands(program, { context, act });
  for (const name of LATER_COMMANDS) {
    program
      .command(name, { hidden: true })
      .allowUnknownOption()
      .argument('[words...]')
      .action(() => {
        throw laterStage(`\`meshwork ${name}\``);
      });
  }
  split = splitAtCommand(program, argv);
  try {
    await program.parseAsync([...split.own], { from: 'user' });
    return exitCode;
  } catch (error) {
    const { command } = split;
    if (error instanceof CommanderError) return usageEnd(error, isJson(), program, command);
    return command?.name() === 'run' ? reportRefusal(error, isJson(), shownFolder()) : reportFailure(error, isJson());
  }
}

/** What is behind a `--` is none, however it looks. */
function optionsOf(own: readonly string[]): readonly string[] {
  const end = own.indexOf('--');
  return end < 0 ? own : own.slice(0, end);
}

function usageEnd(error: CommanderError, json: boolean, program: Command, command: Command | undefined): number {
  if (error.exitCode === 0) return 0;
  if (error.code === 'commander.help') {
    if (json) return reportFailure(new MeshError('bad_argument', 'no command was given; see `meshwork --help`'), true);
    process.stderr.write(program.helpInformation());
    return EXIT_MESHWORK;
  }
  const what = error.message.replace(/^error: /, '').replace(/\n\((.*)\)$/, ' ($1)');
  const where = ['meshwork', ...(command === undefined ? [] : [command.name()]), '--help'].join(' ');
  const refusal = new MeshError('bad_argument', `${what}; see \`${where}\``);
  return command?.name() === 'run' ? reportRefusal(refusal, json, shownFolder()) : reportFailure(refusal, json);
}

interface Wiring {
  readonly context: () => CliContext;
  readonly act: (action: (...args: never[]) => Promise<number>) => (...args: unknown[]) => Promise<void>;
}

function addMeshCommands(program: Command, wiring: Wiring & { readonly parts: CliParts }): void {
  const { context, act, parts } = wiring;
  const example = (command: Command, text: string): Command => command.addHelpText('after', `\nExample:\n  $ ${text}`);
  example(
    program
      .command('up')
      .description("start this node's daemon; the first start makes its identity and a mesh of one")
      .option('--foreground', 'stay in the foreground and log to stderr')
      .addOption(new Option('--detached-child', 'internal: started by `up`').hideHelp())
      .option('--name <name>', "the node's name; default: the host's")
      .option('--listen <host:port>', 'default 0.0.0.0:47470; a literal host is the only address advertised')
      .option('--peer <host:port>', 'a node to link to, where mDNS does not reach; may be repeated', repeat)
      .option('--no-mdns', 'neither announce this node nor look for others by mDNS')
      .option('--slots <n>', 'jobs at once; default: one a core')
      .option('--label <key=value>', 'a label that `--need label:KEY=VALUE` finds; may be repeated', repeat),
    'meshwork up --name desk --label room=office',
  ).action(
    act((options: UpOptions) =>
      options.foreground === true ? parts.runDaemon(context().home, options) : upCommand(context(), options),
    ),
  );
  example(
    program.command('down').description('end its jobs, then the daemon').option('--drain', 'wait for the jobs instead'),
    'meshwork down --drain',
  ).action(act((options: { drain?: boolean }) => downCommand(context(), options.drain === true)));
  example(
    program
      .command('invite')
      .description('print a one-use token that lets one machine join this mesh')
      .option('--ttl <duration>', 'how long it is good for, such as 5m; at most 24h', '10m')
      .option('--admin', 'the newcomer may invite and revoke, too'),
    'meshwork invite --ttl 5m',
  ).action(act((options: { ttl?: string; admin?: boolean }) => inviteCommand(context(), options)));
  example(
    program
      .command('join')
      .argument('<token>')
      .description('join the mesh of the node that made the token')
      .option('--peer <host:port>', 'an address of the inviter, beside those in the token; may be repeated', repeat)
      .option('--submit-only', 'take no jobs from others'),
    'meshwork join mw1…',
  ).action(
    act((token: string, options: { peer?: string[]; submitOnly?: boolean }) => joinCommand(context(), token, options)),
  );
  example(
    program
      .command('leave')
      .description('revoke this node, say goodbye and be a mesh of one again')
      .option('--purge', 'also end the daemon and remove all that this node owns'),
    'meshwork leave',
  ).action(act((options: { purge?: boolean }) => leaveCommand(context(), options.purge === true)));
  example(
    program
      .command('status')
      .description('every node with its load, and machines nearby that are not joined')
      .option('--watch', 'again every second'),
    'meshwork status --watch',
  ).action(act((options: { watch?: boolean }) => statusCommand(context(), options.watch === true)));
  example(
    program.command('mcp').description('the MCP server on stdio, for Claude Code; starts the daemon if none runs'),
    'claude mcp add meshwork -- meshwork mcp',
  ).action(act(() => parts.runMcp(context().home, parts.cliPath)));
}

/** Commands for jobs that were submitted before, on any node of the mesh. */
function addKeptJobCommands(program: Command, { context, act }: Wiring): void {
  const open = () => connect(context());
  const example = (command: Command, text: string): Command => command.addHelpText('after', `\nExample:\n  $ ${text}`);
  const jobId = 'its id, or the beginning of it';
  example(
    program
      .command('jobs')
      .description('jobs of the whole mesh: those that have not ended, and the last few that have')
      .option('--all', 'all that are kept'),
    'meshwork jobs --all',
  ).action(act((options: { all?: boolean }) => jobsCommand(open, options.all === true, context().json)));
  example(
    program
      .command('logs')
      .argument('<job>', jobId)
      .description('output of a job, byte for byte; Ctrl-C leaves the job alone')
      .option('-f, --follow', 'go on until the job has ended')
      .option('--since-offset <n>', 'begin at this byte; each stream, and both together, count their own')
      .option('--stream <name>', 'stdout or stderr alone; without it both, in the order written'),
    'meshwork logs -f 01JD8Z3K',
  ).action(act((job: string, options: LogsOptions) => logsCommand(open, job, options, context().json)));
  example(
    program
      .command('wait')
      .argument('<job>', jobId)
      .description('wait for the end of a job, with its exit code as `run` gives it; Ctrl-C leaves the job alone'),
    'meshwork wait 01JD8Z3K',
  ).action(act((job: string) => waitCommand(open, job, context().json)));
  example(
    program.command('cancel').argument('<job>', jobId).description('end a job; returns once its process tree is gone'),
    'meshwork cancel 01JD8Z3K',
  ).action(act((job: string) => cancelCommand(open, job, context().json)));
  example(
    program
      .command('restart')
      .description("start this node's daemon anew, with the flags it had; jobs run on meanwhile"),
    'npm install -g ./meshwork-0.1.0.tgz && meshwork restart',
  ).action(act(() => restartCommand(context())));
}

/** Commands for what travels with jobs: a project's files. */
function addProjectCommands(program: Command, { context, act }: Wiring): void {
  const open = () => connect(context());
  const example = (command: Command, text: string): Command => command.addHelpText('after', `\nExample:\n  $ ${text}`);
  example(
    program
      .command('apply')
      .argument('<job>', 'its id, or the beginning of it')
      .description('bring home what a job changed and what is held back of it; what changed here too is kept aside'),
    'meshwork apply 01JD8Z3K',
  ).action(act((job: string) => applyCommand(open, job, context().json)));
  const workspaces = example(
    program.command('workspaces').description('what this node keeps of the projects of other nodes'),
    'meshwork workspaces rm',
  );
  example(
    workspaces.command('ls', { isDefault: true }).description('list them, with their size and last use'),
    'meshwork workspaces ls --json',
  ).action(act(() => workspacesCommand(open, context().json)));
  example(
    workspaces
      .command('rm')
      .argument('[name...]', 'projects, as `ls` shows them; without one: all that no job uses')
      .description('remove workspaces; the next job of such a project sends its files again'),
    'meshwork workspaces rm',
  ).action(act((names: string[]) => removeWorkspacesCommand(open, names, context().json)));
  const secrets = example(
    program.command('secrets').description('which ignored files with secrets go along with commands of this project'),
    'meshwork secrets send .env',
  );
  example(
    secrets.command('ls', { isDefault: true }).description('list them, with what was decided'),
    'meshwork secrets ls',
  ).action(act(() => secretsCommand(open, 'ask', [], context().json)));
  for (const [decision, what] of [
    ['send', 'let these files go along; they are readable by their owner alone there'],
    ['skip', 'keep these files here; commands go without them'],
  ] as const) {
    example(
      secrets.command(decision).argument('<file...>', 'files, or folders of them, relative to here').description(what),
      `meshwork secrets ${decision} .env`,
    ).action(act((files: string[]) => secretsCommand(open, decision, files, context().json)));
  }
}

function addJobCommands(program: Command, wiring: Wiring & { readonly words: () => readonly string[] }): void {
  const { context, act, words } = wiring;
  const open = () => connect(context());
  const run = program
    .command('run')
    .usage('[options] -- COMMAND…')
    .description('run one command on the best node; one argument is a shell line, several are an argv without a shell')
    .addHelpText(
      'after',
      "\nExamples:\n  $ meshwork run -- 'npm test'\n  $ meshwork run --on desk --timeout 10m -- cargo build --release\n  $ job=$(meshwork run --background -- ./train.sh) && meshwork logs -f $job",
    );
  addJobOptions(run, 'run').action(act((options: JobOptions) => runCommand(open, words(), options, context().json)));
  const map = program
    .command('map')
    .usage('[options] -- COMMAND… [::: ARG…]')
    .description('one job per argument, or per line of stdin; {} is replaced; output grouped and in order')
    .option('-j, --jobs <n>', 'jobs at once; default 64')
    .option('--tag', 'start every line with its argument')
    .option('--bar', 'show on stderr how far it is, and about how long the rest takes')
    .option('--halt <when>', 'now,fail=N or soon,fail=N (or N%): after N failures end what runs, or only start no more')
    .option('--joblog <file>', 'write a line a job as it ends, in the format of GNU parallel')
    .option('--resume-failed', 'run what the --joblog of an earlier run has as failed, or not at all')
    .addHelpText(
      'after',
      "\nExamples:\n  $ meshwork map --tag -- 'gzip -9 {}' ::: *.log\n  $ ls *.wav | meshwork map --bar --joblog flac.log --halt soon,fail=3 -- flac --best {}",
    );
  addJobOptions(map, 'map').action(act((options: MapOptions) => mapCommand(open, words(), options, context().json)));
  const explain = program
    .command('explain')
    .usage('[options] -- COMMAND…')
    .description('say where a command would run and why; runs nothing')
    .addHelpText('after', "\nExample:\n  $ meshwork explain -- 'cargo test'");
  addJobOptions(explain, 'run').action(
    act((options: JobOptions) => explainCommand(open, words(), options, context().json)),
  );
}
