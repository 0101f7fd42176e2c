#!/usr/bin/env node
// The door to everything one does with a clone: `node tools/run.mjs COMMAND [ARGS]`, or the npm script of the same name. It runs on the Node.js of
// the machine with nothing installed; what it runs runs on the Node.js that the project pins. This file stays readable for any old Node.js.

const OLDEST = [20, 19];

const [major, minor] = process.versions.node.split('.').map(Number);
if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1])) {
  console.error(
    `Millrace needs Node.js ${OLDEST.join('.')} or newer to set itself up; this is ${process.versions.node} (${process.execPath}). ` +
      'Install a current one from https://nodejs.org or with your version manager, then run the same command again.',
  );
  process.exitCode = 1;
} else {
  import('./commands.mjs')
    .then(({ main }) => main(process.argv.slice(2)))
    .then((code) => {
      process.exitCode = code;
    })
    .catch((error) => {
      console.error(error && error.forPeople ? error.message : error);
      process.exitCode = error && error.exitCode ? error.exitCode : 1;
    });
}
