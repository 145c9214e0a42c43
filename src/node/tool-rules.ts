import { KNOWN_TOOLS } from '../adapters/os/tool-list.ts';
import { compatible, pinSatisfied } from '../core/policy/tool-versions.ts';
import type { ToolRules } from '../core/scheduling/placement-request.ts';

/** What every node of this release knows of tools. */
export const TOOL_RULES: ToolRules = { compatible, pinSatisfied, isCatalogued: (tool) => KNOWN_TOOLS.has(tool) };
