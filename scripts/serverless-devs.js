// Writes the package.json files of a folder that holds `s` and the components fc3 and fc3-domain as npm workspaces.
// Run in that folder by scripts/serverless-devs. npm does not have everything that the components name: versions
// that it lacks are those next to them, and packages that it lacks are empty (`s build` of images, auto domains need them).
const fs = require("fs");

const ABSENT = ["@alicloud/sls20191023", "@serverless-devs/docker-image-builder", "@serverless-cd/srm-aliyun-fc-domain"];
const NEXT = { "@alicloud/fc20230330": "^4.7.5", "@alicloud/devs20230714": "^2.4.1" };
const ALSO = { "@serverless-devs/component-interface": "^0.0.6", "@serverless-devs/logger": "^0.0.5" };
const COMPONENTS = ["fc3", "fc3-domain"];

const short = (name) => name.split("/")[1];

function write(folder, manifest) {
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(`${folder}/package.json`, JSON.stringify(manifest, null, 2));
}

for (const name of ABSENT) {
  write(`absent/${short(name)}`, { name, version: "1.0.0", main: "index.js" });
  fs.writeFileSync(`absent/${short(name)}/index.js`, "module.exports = {};\n");
}
for (const name of COMPONENTS) {
  const wanted = { ...ALSO, ...JSON.parse(fs.readFileSync(`sources/${name}/package.json`)).dependencies };
  const dependencies = {};
  for (const [dependency, version] of Object.entries(wanted)) {
    dependencies[dependency] = ABSENT.includes(dependency)
      ? `file:../absent/${short(dependency)}`
      : NEXT[dependency] || version;
  }
  write(name, { name, version: "0.0.0", private: true, main: "dist/index.js", dependencies });
}
write(".", {
  private: true,
  workspaces: COMPONENTS,
  dependencies: { "@serverless-devs/s": "3.1.10", esbuild: "^0.21.1" },
  overrides: { [ABSENT[0]]: `file:./absent/${short(ABSENT[0])}` },
});
