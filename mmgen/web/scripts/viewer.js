// A click on a picture shows it as large as the window. Arrows go to the next one, Escape or a click closes it.
const shown = () => [...element.querySelectorAll('button.picture img')];

const open = (start) => {
  let place = start;
  const dialog = document.createElement('dialog');
  const image = document.createElement('img');
  const show = (step) => {
    const all = shown();
    place = (place + step + all.length) % all.length;
    image.src = all[place].src;
    image.alt = dialog.ariaLabel = all[place].alt;
  };
  dialog.className = 'full-size';
  dialog.append(image);
  dialog.addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => dialog.remove());
  dialog.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) show(step);
  });
  show(0);
  document.querySelector('.gradio-container').append(dialog);
  dialog.showModal();
};

element.addEventListener('click', (event) => {
  const button = event.target.closest('button.picture');
  if (button) open(shown().indexOf(button.querySelector('img')));
  const edit = event.target.closest('button.edit');
  if (edit) {
    const card = edit.closest('.card');
    toCanvas(card.querySelector('a.save').href);
  }
});

// Puts a result on the canvas of the tab Edit.
function toCanvas(source) {
  document.querySelector('#tab-edit-button').click();
  send('mmgen-edit', { source });
}

// The other tab may still have to be built.
function send(name, detail) {
  if (document.querySelector('#canvas[data-ready], #canvas [data-ready]')) {
    document.dispatchEvent(new CustomEvent(name, { detail }));
  } else {
    setTimeout(() => send(name, detail), 100);
  }
}
