"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const palette = data.palette.match(/.{6}/g).map((hex) => "#" + hex);
const FONT = "11px " + getComputedStyle(document.documentElement).getPropertyValue("--font");
const SMALLEST = 11; // pixels of a cell whose token can be read; in smaller ones only the readout names it
const LARGEST = 28;
const LARGE = 22;
const LONGEST = 120; // pixels of a token beside or above its map
const SIDES = ["teacher", "student"];
const BETWEEN = " | "; // two texts of a pair
let cell = { row: 0, column: 0 };
let shown = null; // what the maps show, for the readout

function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function offer(select, texts) {
  const previous = Math.max(select.selectedIndex, 0);
  select.replaceChildren(...texts.map((text, index) => element("option", text, { value: index })));
  select.selectedIndex = Math.min(previous, texts.length - 1);
}

const number = (value) => (value === null ? "" : (Math.round(value * 100) / 100 || 0).toFixed(2).replace("-", "−"));

function chosen() {
  const layers = data.layers[at("layers").selectedIndex];
  const measure = data.measures[at("measure").selectedIndex];
  return { layers, measure, found: data.heads[measure.name][layers.key] };
}

function showMatching() {
  const { layers, measure, found } = chosen();
  at("meaning").textContent = measure.meaning;
  at("matrix-dark").srcset = found.dark;
  at("matrix").src = found.light;
  at("matrix").alt = found.alt;
  at("pairs-caption").textContent = `Matched heads of student layer ${layers.student} and teacher layer ${layers.teacher}, by ${measure.name}`;
  const names = ["student head", "teacher head", "similarity", "margin over the next", "other texts"];
  if (data.before) names.push("before: teacher head", "before: similarity");
  at("pairs").tHead.rows[0].replaceChildren(...names.map((name) => element("th", name, { scope: "col" })));
  at("pairs").tBodies[0].replaceChildren(
    ...found.pairs.map((pair) => {
      const row = document.createElement("tr");
      row.append(element("th", pair.student, { scope: "row" }));
      const values = [pair.teacher, number(pair.similarity), number(pair.margin), number(pair.null)];
      if (data.before) values.push(pair.before_teacher ?? "none", number(pair.before_similarity));
      row.append(...values.map((value) => element("td", value)));
      return row;
    }),
  );
  const alone = [["student", found.unmatched_student], ["teacher", found.unmatched_teacher]].filter(([, heads]) => heads.length);
  at("unmatched").textContent = alone.length
    ? "Without a partner, because the other side has fewer: " +
      alone.map(([side, heads]) => `${side} head${heads.length > 1 ? "s" : ""} ${heads.join(", ")}`).join("; ") + "."
    : "Every head has a partner.";
  offer(at("heads"), found.pairs.map((pair) => `student ${pair.student}, teacher ${pair.teacher} (${number(pair.similarity)})`));
}

/** Return the bytes of one head's map: round(255 sqrt(p)), query after query. */
function mapOf(side, layer, head, sentence) {
  const bytes = atob(data.maps[side][layer][sentence]);
  const size = data.sentences[sentence].tokens.length ** 2;
  return Uint8Array.from({ length: size }, (_, index) => bytes.charCodeAt(head * size + index));
}

const probability = (byte) => (byte / 255) ** 2;

const largest = (map) => map.reduce((most, byte) => Math.max(most, byte), 1);

/** Make a canvas of this size sharp, and return its pen. */
function sized(canvas, width, height) {
  const sharp = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * sharp);
  canvas.height = Math.round(height * sharp);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(sharp, sharp);
  pen.font = FONT;
  pen.textBaseline = "middle";
  pen.fillStyle = getComputedStyle(document.body).color;
  return pen;
}

/** Write the tokens above and beside a map. */
function writeTokens(side) {
  const { labels, margin, size } = shown;
  const whole = size * labels.length;
  const over = sized(at(`${side}-over`), whole, margin);
  const beside = sized(at(`${side}-beside`), margin, whole);
  beside.textAlign = "right";
  if (!margin) return;
  labels.forEach((label, index) => {
    const middle = (index + 0.5) * size;
    beside.fillText(label, margin - 5, middle);
    over.save();
    over.translate(middle, margin - 5);
    over.rotate(-Math.PI / 2);
    over.textAlign = "left";
    over.fillText(label, 0, 0);
    over.restore();
  });
}

function draw(side) {
  const { tokens, size, top } = shown;
  const map = shown.map[side];
  const pen = sized(at(side), size * tokens.length, size * tokens.length);
  map.forEach((byte, index) => {
    pen.fillStyle = palette[Math.round((byte * 255) / top)];
    pen.fillRect((index % tokens.length) * size, Math.floor(index / tokens.length) * size, size, size);
  });
  for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(cell.column * size, cell.row * size, size, size);
  }
}

/** Return a token as it is written beside a map: what is longer than its place ends with an ellipsis. */
function shortened(pen, token) {
  // by what a reader takes for one sign, where the browser knows it
  const signs = Intl.Segmenter ? Array.from(new Intl.Segmenter().segment(token), (part) => part.segment) : [...token];
  if (pen.measureText(token).width <= LONGEST) return token;
  while (signs.length > 1 && pen.measureText(signs.join("") + "…").width > LONGEST) signs.pop();
  return signs.join("") + "…";
}

function showAttention() {
  const { layers, found } = chosen();
  const pair = found.pairs[at("heads").selectedIndex];
  const sentence = at("sentence").selectedIndex;
  const { texts, tokens } = data.sentences[sentence];
  const text = texts.join(BETWEEN);
  const maps = getComputedStyle(document.querySelector(".maps"));
  const columns = window.matchMedia("(max-width: 600px)").matches ? 1 : 2;
  const width = (document.querySelector(".maps").clientWidth - (columns - 1) * parseFloat(maps.columnGap)) / columns;
  const pen = sized(at("teacher"), 1, 1);
  const labels = tokens.map((token) => shortened(pen, token));
  const room = Math.ceil(Math.max(...labels.map((label) => pen.measureText(label).width))) + 8;
  const fitting = Math.floor((width - room) / tokens.length);
  const least = { whole: 1, readable: SMALLEST, large: LARGE }[at("zoom").value];
  const isNamed = at("zoom").value !== "whole" || fitting >= SMALLEST;
  const size = Math.max(least, Math.min(isNamed ? fitting : Math.floor(width / tokens.length), LARGEST), 1);
  const margin = isNamed ? room : 0;
  cell = { row: Math.min(cell.row, tokens.length - 1), column: Math.min(cell.column, tokens.length - 1) };
  const map = Object.fromEntries(SIDES.map((side) => [side, mapOf(side, layers[side], pair[side], sentence)]));
  const top = Math.max(...SIDES.map((side) => largest(map[side]))); // one scale for both maps
  shown = { tokens, labels, margin, size, map, top };
  at("top").textContent = probability(top).toFixed(2);
  at("middle").textContent = probability(top / 2).toFixed(2);
  at("text").replaceChildren(...texts.flatMap((part, index) => [
    ...(index ? [element("span", BETWEEN, { class: "and" })] : []), element("bdi", part)]));
  for (const side of SIDES) {
    const title = `${side === "teacher" ? "Teacher" : "Student"}, layer ${layers[side]}, head ${pair[side]}`;
    writeTokens(side);
    draw(side);
    at(`${side}-title`).textContent = title;
    at(side).setAttribute("aria-label", `Attention map. ${title}. ${text}. Its largest values are in the table below.`);
  }
  at("words").tBodies[0].replaceChildren(
    ...tokens.map((token, row) => {
      const line = document.createElement("tr");
      line.append(element("th", token, { scope: "row", dir: "auto" }));
      for (const side of SIDES) {
        line.append(element("td", "", { class: "name" }));
        line.lastChild.append(...looksAt(shown.map[side], row));
      }
      return line;
    }),
  );
  read();
}

function looksAt(map, row) {
  const count = shown.tokens.length;
  const columns = [...Array(count).keys()].sort((a, b) => map[row * count + b] - map[row * count + a]).slice(0, 3);
  // isolated, so that a token written from right to left does not turn what stands beside it
  return columns.flatMap((column, index) => [
    index ? ", " : "", element("bdi", shown.tokens[column]), ` ${number(probability(map[row * count + column]))}`]);
}

function read() {
  const index = cell.row * shown.tokens.length + cell.column;
  const [teacher, student] = SIDES.map((side) => probability(shown.map[side][index]).toFixed(3));
  at("readout").replaceChildren(
    "“", element("bdi", shown.tokens[cell.row]), "” attends to “", element("bdi", shown.tokens[cell.column]),
    `” with ${teacher} in the teacher, ${student} in the student.`);
}

function move(row, column) {
  const inside = (value) => Math.max(0, Math.min(value, shown.tokens.length - 1));
  cell = { row: inside(row), column: inside(column) };
  for (const side of SIDES) draw(side);
  read();
}

const STEPS = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
for (const side of SIDES) {
  at(side).addEventListener("keydown", (event) => {
    if (!(event.key in STEPS)) return;
    event.preventDefault();
    move(cell.row + STEPS[event.key][0], cell.column + STEPS[event.key][1]);
    reveal(side);
  });
  for (const kind of ["pointermove", "pointerdown"]) {
    at(side).addEventListener(kind, (event) => {
      const [row, column] = [event.offsetY, event.offsetX].map((value) => Math.floor(value / shown.size));
      if (row >= 0 && column >= 0 && (row !== cell.row || column !== cell.column)) move(row, column);
    });
  }
  // the same part of both maps is seen
  at(`${side}-box`).addEventListener("scroll", (event) => {
    for (const other of SIDES) {
      at(`${other}-box`).scrollLeft = event.target.scrollLeft;
      at(`${other}-box`).scrollTop = event.target.scrollTop;
    }
  });
}

/** Scroll a map in its box until the cell is in sight; the other follows. */
function reveal(side) {
  const box = at(`${side}-box`);
  const { margin, size } = shown;
  const seen = (start, whole, place) => Math.min(Math.max(start, margin + place + size - whole), place);
  box.scrollLeft = seen(box.scrollLeft, box.clientWidth, cell.column * size);
  box.scrollTop = seen(box.scrollTop, box.clientHeight, cell.row * size);
}

offer(at("layers"), data.layers.map((pair) => `student ${pair.student}, teacher ${pair.teacher}`));
offer(at("measure"), data.measures.map((measure) => measure.name));
offer(at("sentence"), data.sentences.map((sentence) => sentence.texts.join(BETWEEN)));
for (const id of ["layers", "measure"]) at(id).addEventListener("change", () => { showMatching(); showAttention(); });
for (const id of ["heads", "sentence", "zoom"]) at(id).addEventListener("change", showAttention);
window.addEventListener("resize", showAttention);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", showAttention);
const scale = at("scale").getContext("2d");
for (let step = 0; step < 240; step++) {
  scale.fillStyle = palette[Math.floor((step * 256) / 240)];
  scale.fillRect(step, 0, 1, 12);
}
showMatching();
showAttention();
