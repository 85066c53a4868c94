// Drives npm's `haproxy` for test_operators_tools.py: each word of the list given as JSON is a method and its arguments;
// what the callbacks were given is printed as JSON. Arguments: path of the package, options of its constructor, the list.
"use strict";
const [where, options, calls] = [process.argv[2], JSON.parse(process.argv[3]), JSON.parse(process.argv[4])];
const HAProxy = require(where);
const haproxy = new HAProxy(options.socket, options);
(async () => {
  const found = [];
  for (const [method, ...words] of calls) {
    found.push(await new Promise(resolve => haproxy[method](...words, (err, result) => resolve(err ? { error: err.message } : result))));
  }
  console.log(JSON.stringify(found));
})();
