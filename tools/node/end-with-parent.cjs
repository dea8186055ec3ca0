// Loaded into Azurite by tools/azurite.py. Standard input is a pipe whose other end only the parent holds, so the
// kernel closes it when the parent ends, however it ends (SIGKILL included). Azurite then closes as it does on SIGTERM,
// which writes its files in disk mode; where an open request keeps it from closing, it ends after three seconds.
process.stdout.on("error", () => {}); // the parent that read it is gone
process.stderr.on("error", () => {});
process.stdin.on("error", () => {});
process.stdin
  .on("close", () => {
    process.kill(process.pid, "SIGTERM");
    setTimeout(() => process.exit(1), 3000).unref();
  })
  .resume();
