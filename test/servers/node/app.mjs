// The application behind the proxy, in the idiom of each router.
// node app.mjs express4|express5|fastify|fastify-loose, with PORT and MODULES.
import { createRequire } from "node:module";

const require = createRequire(process.env.MODULES + "/");
const name = process.argv[2];
const port = Number(process.env.PORT);
const host = "127.0.0.1";

// What a handler says of a request: who it is, and what it read.
const says = (handler, value) => ({ handler, value });

function express(version) {
  const express = require(version);
  const app = express(); // its defaults
  const on = (path, handler, value) => app.all(path, (req, res) => res.json(says(handler, value(req))));
  on("/", "root", () => undefined);
  on("/admin", "admin", () => undefined);
  on("/admin/users/:id", "user", (req) => req.params.id);
  app.get("/items", (req, res) => res.json(says("items", req.query.workspace ?? null)));
  app.get("/search/:id", (req, res) => res.json(says("search", req.query.workspace ?? null)));
  app.get("/orders", (req, res) => res.json(says("orders", req.query.workspace_id ?? null)));
  app.get("/hdr", (req, res) => res.json(says("hdr", req.get("X-Org") ?? null)));
  on("/w/:ws", "workspace", (req) => req.params.ws);
  on("/files/:name", "file", (req) => req.params.name);
  app.get("/public/:name", (req, res) => res.json(says("public", req.params.name)));
  app.post("/things/:id", (req, res) => res.json(says("update", req.params.id)));
  app.delete("/things/:id", (req, res) => res.json(says("delete", req.params.id)));
  app.delete("/posts/:id", (req, res) => res.json(says("unpublish", req.params.id)));
  on("/exports", "exports", () => undefined);
  app.listen(port, host);
}

async function fastify(options) {
  const app = require("fastify")({ routerOptions: options });
  const on = (path, handler, value) => app.all(path, async (req) => says(handler, value(req)));
  on("/", "root", () => undefined);
  on("/admin", "admin", () => undefined);
  on("/admin/users/:id", "user", (req) => req.params.id);
  app.get("/items", async (req) => says("items", req.query.workspace ?? null));
  app.get("/search/:id", async (req) => says("search", req.query.workspace ?? null));
  app.get("/orders", async (req) => says("orders", req.query.workspace_id ?? null));
  app.get("/hdr", async (req) => says("hdr", req.headers["x-org"] ?? null));
  on("/w/:ws", "workspace", (req) => req.params.ws);
  on("/files/:name", "file", (req) => req.params.name);
  app.get("/public/:name", async (req) => says("public", req.params.name));
  app.post("/things/:id", async (req) => says("update", req.params.id));
  app.delete("/things/:id", async (req) => says("delete", req.params.id));
  app.delete("/posts/:id", async (req) => says("unpublish", req.params.id));
  on("/exports", "exports", () => undefined);
  await app.listen({ port, host });
}

await {
  express4: () => express("express4"),
  express5: () => express("express5"),
  fastify: () => fastify({}),
  "fastify-loose": () => fastify({ ignoreTrailingSlash: true, caseSensitive: false, useSemicolonDelimiter: true, ignoreDuplicateSlashes: true }),
}[name]();
