"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const at = (id) => document.getElementById(id);
const palette = data.palette.match(/.{6}/g).map((hex) => "#" + hex);
const FONT = "11px system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif";
const GAP = 16; // between the two maps
const SMALLEST = 11; // pixels of a cell whose token can be read; below it the maps stand one above the other
const LARGEST = 28;
const SIDES = ["teacher", "student"];
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
  at("matrix").src = found.png;
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

function draw(side) {
  const { tokens, margin, size, top } = shown;
  const canvas = at(side);
  const map = shown.map[side];
  const pen = canvas.getContext("2d");
  const whole = margin + size * tokens.length;
  const sharp = window.devicePixelRatio || 1;
  canvas.width = Math.round(whole * sharp);
  canvas.height = Math.round(whole * sharp);
  canvas.style.width = canvas.style.height = `${whole}px`;
  pen.scale(sharp, sharp);
  pen.font = FONT;
  pen.textBaseline = "middle";
  const place = (index) => margin + index * size;
  tokens.forEach((token, index) => {
    pen.fillStyle = "#1a1a1a";
    pen.textAlign = "right";
    pen.fillText(token, margin - 5, place(index) + size / 2);
    pen.save();
    pen.translate(place(index) + size / 2, margin - 5);
    pen.rotate(-Math.PI / 2);
    pen.textAlign = "left";
    pen.fillText(token, 0, 0);
    pen.restore();
    tokens.forEach((_, column) => {
      pen.fillStyle = palette[Math.round((map[index * tokens.length + column] * 255) / top)];
      pen.fillRect(place(column), place(index), size, size);
    });
  });
  for (const [colour, width] of [["#000", 4], ["#fff", 2]]) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.strokeRect(place(cell.column), place(cell.row), size, size);
  }
}

function widest(tokens) {
  const pen = at("teacher").getContext("2d");
  pen.font = FONT;
  return Math.ceil(Math.max(...tokens.map((token) => pen.measureText(token).width))) + 8;
}

function showAttention() {
  const { layers, found } = chosen();
  const pair = found.pairs[at("heads").selectedIndex];
  const sentence = at("sentence").selectedIndex;
  const { text, tokens } = data.sentences[sentence];
  const width = document.querySelector(".maps").clientWidth;
  const margin = widest(tokens);
  const fitting = (room) => Math.floor((room - margin) / tokens.length);
  const beside = fitting((width - GAP) / 2);
  const size = Math.max(1, Math.min(beside < SMALLEST ? fitting(width) : beside, LARGEST));
  cell = { row: Math.min(cell.row, tokens.length - 1), column: Math.min(cell.column, tokens.length - 1) };
  const map = Object.fromEntries(SIDES.map((side) => [side, mapOf(side, layers[side], pair[side], sentence)]));
  const top = Math.max(...SIDES.map((side) => largest(map[side]))); // one scale for both maps
  shown = { tokens, margin, size, map, top };
  at("top").textContent = probability(top).toFixed(2);
  at("middle").textContent = probability(top / 2).toFixed(2);
  at("text").textContent = text;
  for (const side of SIDES) {
    const title = `${side === "teacher" ? "Teacher" : "Student"}, layer ${layers[side]}, head ${pair[side]}`;
    draw(side);
    at(`${side}-title`).textContent = title;
    at(side).setAttribute("aria-label", `Attention map. ${title}. ${text}. Its largest values are in the table below.`);
  }
  at("words").tBodies[0].replaceChildren(
    ...tokens.map((token, row) => {
      const line = document.createElement("tr");
      line.append(element("th", token, { scope: "row" }));
      line.append(...SIDES.map((side) => element("td", looksAt(shown.map[side], row), { class: "name" })));
      return line;
    }),
  );
  read();
}

function looksAt(map, row) {
  const count = shown.tokens.length;
  const columns = [...Array(count).keys()].sort((a, b) => map[row * count + b] - map[row * count + a]).slice(0, 3);
  return columns.map((column) => `${shown.tokens[column]} ${number(probability(map[row * count + column]))}`).join(", ");
}

function read() {
  const index = cell.row * shown.tokens.length + cell.column;
  const [teacher, student] = SIDES.map((side) => probability(shown.map[side][index]).toFixed(3));
  at("readout").textContent =
    `“${shown.tokens[cell.row]}” attends to “${shown.tokens[cell.column]}” with ${teacher} in the teacher, ${student} in the student.`;
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
  });
  at(side).addEventListener("mousemove", (event) => {
    const [row, column] = [event.offsetY, event.offsetX].map((value) => Math.floor((value - shown.margin) / shown.size));
    if (row >= 0 && column >= 0 && (row !== cell.row || column !== cell.column)) move(row, column);
  });
}

offer(at("layers"), data.layers.map((pair) => `student ${pair.student}, teacher ${pair.teacher}`));
offer(at("measure"), data.measures.map((measure) => measure.name));
offer(at("sentence"), data.sentences.map((sentence) => sentence.text));
for (const id of ["layers", "measure"]) at(id).addEventListener("change", () => { showMatching(); showAttention(); });
for (const id of ["heads", "sentence"]) at(id).addEventListener("change", showAttention);
window.addEventListener("resize", showAttention);
const scale = at("scale").getContext("2d");
for (let step = 0; step < 240; step++) {
  scale.fillStyle = palette[Math.floor((step * 256) / 240)];
  scale.fillRect(step, 0, 1, 12);
}
showMatching();
showAttention();
