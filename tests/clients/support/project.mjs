// The Featurevisor project of the tests, built in a copy by the real command line tool.
//
// The tool of this version writes schema 1, which the SDK 1.x reads. The SDK 2.x reads schema 2,
// where segments, features and variables are objects by key: its datafile is made here from the
// built one, so that both follow the same YAML.
import { execFile } from "node:child_process";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const source = fileURLToPath(new URL("../featurevisor", import.meta.url));
const tool = fileURLToPath(new URL("../node_modules/@featurevisor/cli/bin.js", import.meta.url));

export const FEATURE = "newCheckout";
/** A visitor whom the production rule of the feature concerns. */
export const VISITOR = { userId: "visitor-1", country: "nl" };

export const V1_PATH = "/production/datafile-tag-all.json";
export const V2_PATH = "/production/featurevisor-tag-all.json";

function byKey(entries, value) {
  return Object.fromEntries(entries.map(({ key, ...rest }) => [key, value ? value(rest) : rest]));
}

function toSchema2({ revision, segments, features }) {
  return {
    schemaVersion: "2",
    revision,
    segments: byKey(segments),
    features: byKey(features, (feature) => ({
      ...feature,
      ...(feature.variablesSchema && { variablesSchema: byKey(feature.variablesSchema) }),
    })),
  };
}

export async function copyProject() {
  const root = await mkdtemp(path.join(os.tmpdir(), "relay-clients-project-"));
  await cp(source, root, { recursive: true });
  const featureFile = path.join(root, "features", `${FEATURE}.yml`);

  return {
    /** Rolls the feature out to its whole segment in production. */
    async switchOn() {
      const yaml = await readFile(featureFile, "utf8");
      const changed = yaml.replace("percentage: 0", "percentage: 100");
      if (changed === yaml) throw new Error(`${featureFile} has no rule at 0 percent`);
      await writeFile(featureFile, changed);
    },

    /** `featurevisor build`; returns the files to upload, by their path. */
    async build() {
      await run(process.execPath, [tool, "build"], { cwd: root });
      const built = await readFile(path.join(root, "dist", V1_PATH), "utf8");
      return {
        [V1_PATH]: built,
        [V2_PATH]: JSON.stringify(toSchema2(JSON.parse(built))),
      };
    },

    remove: () => rm(root, { recursive: true, force: true }),
  };
}

/** Both states of the project: the feature off, and the next revision with the feature on. */
export async function buildOffAndOn() {
  const project = await copyProject();
  try {
    const off = await project.build();
    await project.switchOn();
    const on = await project.build();
    return { off, on };
  } finally {
    await project.remove();
  }
}
