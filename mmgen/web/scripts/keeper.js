// Keeps every finished result in the browser's own database, for the tab History.
const MOST = 200;
const kept = new Set();

const keep = async (card) => {
  const save = card.querySelector('a.save');
  const still = card.querySelector('button.picture img');
  await database.use('readwrite', (results) => results.put({
    key: card.dataset.key,
    time: Date.now() - [...card.parentNode.children].indexOf(card),
    medium: card.dataset.medium,
    made: JSON.parse(card.dataset.made),
    name: save.download,
    file: save.href,
    still: still ? still.src : '',
  }));
};

const look = async () => {
  const cards = [...element.querySelectorAll('.cards.finished .card[data-key]')];
  const fresh = cards.filter((card) => !kept.has(card.dataset.key));
  if (!fresh.length) return;
  fresh.forEach((card) => kept.add(card.dataset.key));
  for (const card of fresh) await keep(card);
  for (const old of (await database.all()).slice(MOST)) {
    await database.use('readwrite', (results) => results.delete(old.key));
  }
  document.dispatchEvent(new CustomEvent('mmgen-kept'));
};
new MutationObserver(look).observe(element, { childList: true, subtree: true });
