// Painting cells with mouse, finger or keys. What is painted is read from the page when it is to be drawn again.
let painting = null;
let cursor = 0;

const drawing = () => element.querySelector('.sketch svg');
const sides = () => drawing().getAttribute('viewBox').split(' ').slice(2).map(Number);

const paint = (column, row, on) => {
  const [columns, rows] = sides();
  const size = Number(element.querySelector('.brush').value);
  const start = Math.floor((size - 1) / 2);
  const cells = drawing().children;
  for (let y = row - start; y < row - start + size; y += 1) {
    for (let x = column - start; x < column - start + size; x += 1) {
      if (x >= 0 && x < columns && y >= 0 && y < rows) cells[y * columns + x].classList.toggle('painted', on);
    }
  }
};

const placeOf = (event) => {
  const [columns, rows] = sides();
  const box = drawing().getBoundingClientRect();
  const along = (from, length, count) => Math.floor((from / length) * count);
  return [along(event.clientX - box.left, box.width, columns), along(event.clientY - box.top, box.height, rows)];
};

element.addEventListener('pointerdown', (event) => {
  if (!event.target.closest('.sketch svg')) return;
  event.preventDefault();
  drawing().focus();
  painting = !element.querySelector('.eraser').checked;
  paint(...placeOf(event), painting);
});
element.addEventListener('pointermove', (event) => {
  if (painting !== null && drawing()) paint(...placeOf(event), painting);
});
window.addEventListener('pointerup', () => { painting = null; });

element.addEventListener('keydown', (event) => {
  if (!event.target.closest('.sketch svg')) return;
  const [columns, rows] = sides();
  const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[event.key];
  if (step === undefined && event.key !== ' ') return;
  event.preventDefault();
  const cells = drawing().children;
  if (step !== undefined && cells[cursor + step]) {
    cells[cursor].classList.remove('cursor');
    cursor += step;
    cells[cursor].classList.add('cursor');
  } else if (event.key === ' ') {
    paint(cursor % columns, Math.floor(cursor / columns), !cells[cursor].classList.contains('painted'));
  }
});

element.addEventListener('click', (event) => {
  const on = event.target.closest('.all') ? true : event.target.closest('.none') ? false : null;
  if (on === null) return;
  for (const cell of drawing().children) cell.classList.toggle('painted', on);
});

document.addEventListener('mmgen-edit', (event) => {
  if (element.isConnected) trigger('take', event.detail);
});
element.dataset.ready = 'yes';
