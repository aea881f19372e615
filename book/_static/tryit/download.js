/* Files that are fetched once: with progress, held to their hashes, and kept by the browser for the next visit. */

const KEPT = "edgezsad-try-it";

/* What could not be fetched, or is not what it should be: a sentence for the reader. */
export class NotFetched extends Error {}

const sha384 = async (bytes) => {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-384", bytes));
  return `sha384-${btoa(String.fromCharCode(...digest))}`;
};

const read = async (answer, size, tell) => {
  const bytes = new Uint8Array(size);
  let length = 0;
  for (const reader = answer.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > size) throw new NotFetched("longer than it should be");
    bytes.set(value, length);
    length += value.length;
    tell(length);
  }
  if (length !== size) throw new NotFetched("cut off");
  return bytes;
};

/* The browser's store, where it has one: it has none on addresses that are not secure. */
const store = async () => {
  try {
    return await self.caches?.open(KEPT);
  } catch {
    return undefined;
  }
};

/* One file.

   file: {name, url, bytes (its size), integrity ("sha384-...")}.
   tell: called with the number of bytes that are there.
   Returns a Uint8Array. Throws NotFetched. */
const fetched = async (file, tell) => {
  const kept = await store();
  const address = new URL(file.url, self.location.href);
  // The hash is part of the name, so that a new version of the book never reads an old one's model.
  const name = `${address.href}?${encodeURIComponent(file.integrity)}`;
  const good = async (bytes) => !self.crypto?.subtle || (await sha384(bytes)) === file.integrity;
  const before = await kept?.match(name);
  if (before) {
    const bytes = new Uint8Array(await before.arrayBuffer());
    if (bytes.length === file.bytes && (await good(bytes))) {
      tell(bytes.length);
      return bytes;
    }
  }
  try {
    // A browser that checks the hash by itself shows nothing of a file until it is whole, hence no progress.
    const answer = await fetch(address, self.crypto?.subtle ? {} : { integrity: file.integrity });
    if (!answer.ok) throw new NotFetched(`the server answered ${answer.status}`);
    const bytes = await read(answer, file.bytes, tell);
    if (!(await good(bytes))) throw new NotFetched("not the file that was meant");
    await kept?.put(name, new Response(bytes, { headers: { "Content-Type": "application/octet-stream" } })).catch(() => {
      // A full disk, or a private window: the file is fetched again next time.
    });
    return bytes;
  } catch (error) {
    const reason = error instanceof NotFetched ? error.message : "no connection";
    throw new NotFetched(`The ${file.name} could not be fetched (${reason}); check the connection and try again.`);
  }
};

/* Several files at once; what an earlier version of the book has left in the store is removed.

   tell: called with the bytes that are there and the bytes of all. all: every file of the page. */
export const fetchAll = async (files, tell, all) => {
  const there = files.map(() => 0);
  const total = files.reduce((sum, file) => sum + file.bytes, 0);
  const got = await Promise.all(
    files.map((file, index) =>
      fetched(file, (length) => {
        there[index] = length;
        tell(there.reduce((sum, each) => sum + each, 0), total);
      }),
    ),
  );
  const kept = await store();
  const meant = new Set(all.map((file) => encodeURIComponent(file.integrity)));
  for (const request of (await kept?.keys()) ?? [])
    if (!meant.has(new URL(request.url).search.slice(1))) await kept.delete(request);
  return got;
};
