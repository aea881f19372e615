/* The heat map over a photograph, as the package paints it (edgezsad/show/maps.py): one fixed scale for all. */

/* A map at another size, bilinear, edges held: the same as OpenCV's INTER_LINEAR.

   map: Float32Array (rows * columns). Returns Float32Array (height * width). */
export const enlarge = (map, rows, columns, height, width) => {
  const out = new Float32Array(height * width);
  const places = (from, to) =>
    Array.from({ length: to }, (_, index) => {
      const at = Math.min(Math.max(((index + 0.5) * from) / to - 0.5, 0), from - 1);
      const first = Math.min(Math.floor(at), Math.max(from - 2, 0));
      return [first, Math.min(first + 1, from - 1), at - first];
    });
  const across = places(columns, width);
  places(rows, height).forEach(([top, bottom, down], y) => {
    across.forEach(([left, right, along], x) => {
      const above = map[top * columns + left] * (1 - along) + map[top * columns + right] * along;
      const below = map[bottom * columns + left] * (1 - along) + map[bottom * columns + right] * along;
      out[y * width + x] = above * (1 - down) + below * down;
    });
  });
  return out;
};

/* What lies over the photograph: ImageData whose opacity is the level, so that it is clear where the map is low.

   levels: Float32Array, logits. heat: {colours: 256 of "rrggbb" in one text, range: [low, high] in logits}. */
export const painted = (levels, height, width, { colours, range: [low, high] }) => {
  const data = new ImageData(width, height);
  const table = Array.from({ length: 256 }, (_, index) => Number.parseInt(colours.slice(6 * index, 6 * index + 6), 16));
  levels.forEach((value, index) => {
    const level = Math.round(255 * Math.min(1, Math.max(0, (value - low) / (high - low))));
    data.data.set([table[level] >> 16, (table[level] >> 8) & 255, table[level] & 255, level], 4 * index);
  });
  return data;
};

/* Where a map is highest, in words. */
export const highest = (map, rows, columns) => {
  let best = 0;
  for (let index = 1; index < map.length; index++) if (map[index] > map[best]) best = index;
  const third = (place, length) => Math.min(2, Math.floor((3 * (place + 0.5)) / length));
  const down = ["top", "middle", "bottom"][third(Math.floor(best / columns), rows)];
  const along = ["left", "centre", "right"][third(best % columns, columns)];
  const where = down === "middle" && along === "centre" ? "centre" : `${down} ${along}`;
  return { where, value: map[best] };
};
