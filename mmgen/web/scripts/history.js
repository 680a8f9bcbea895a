// The results that this browser keeps, as cards.
const make = (tag, properties, ...children) => {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
};

const viewOf = ({ medium, file, still, made }) => {
  const title = `${made.prompt}, seed ${made.seed}`;
  if (medium === 'video' && !still) {
    return make('video', { className: 'picture', src: file, muted: true, loop: true, autoplay: true, controls: true,
      playsInline: true, ariaLabel: title });
  }
  const view = make('div', {}, make('button', { type: 'button', className: 'picture', title: 'Show full size' },
    make('img', { src: still, alt: title })));
  if (medium === 'audio') view.append(make('audio', { className: 'player', src: file, controls: true, ariaLabel: title }));
  return view;
};

const cardOf = (entry) => {
  const restore = make('button', { type: 'button', className: 'restore', textContent: 'Use settings' });
  const edit = entry.made.edited && document.querySelector('#tab-edit-button');
  restore.addEventListener('click', () => (edit ? toCanvas(entry.file) : trigger('restore', { made: entry.made })));
  const remove = make('button', { type: 'button', className: 'remove', textContent: 'Delete' });
  remove.addEventListener('click', async () => {
    await database.use('readwrite', (results) => results.delete(entry.key));
    show();
  });
  const save = make('a', { className: 'save', download: entry.name, href: entry.file, textContent: 'Save' });
  return make('figure', { className: 'card' }, viewOf(entry), make('figcaption', {},
    make('p', { className: 'caption', textContent: entry.made.prompt }),
    make('p', { className: 'made' }, make('span', { className: 'seed',
      textContent: `${entry.made.pipeline} · ${entry.made.decoder} · seed ${entry.made.seed}` })),
    make('p', { className: 'made actions' }, restore, save, remove)));
};

const show = async () => {
  const entries = await database.all();
  element.querySelector('.cards').replaceChildren(...entries.map(cardOf));
  element.querySelector('.history').dataset.count = entries.length;
  element.querySelector('.count').textContent =
    `${entries.length} ${entries.length === 1 ? 'result' : 'results'}, in this browser only.`;
};

element.querySelector('.clear').addEventListener('click', async () => {
  if (!window.confirm('Delete all results from this browser?')) return;
  await database.use('readwrite', (results) => results.clear());
  show();
});

document.addEventListener('mmgen-kept', () => {
  if (element.isConnected) show();
});
show();
