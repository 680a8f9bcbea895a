// What this browser drew, in its own database (IndexedDB): nothing of it leaves the browser.
const opened = new Promise((resolve, reject) => {
  const request = indexedDB.open('mmgen', 1);
  request.onupgradeneeded = () => request.result.createObjectStore('results', { keyPath: 'key' });
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

const database = {
  // Does one thing with the results; returns what comes of it.
  async use(mode, work) {
    const request = work((await opened).transaction('results', mode).objectStore('results'));
    return new Promise((resolve, reject) => {
      request.onsuccess = () => resolve(request.result);
      request.onerror = () => reject(request.error);
    });
  },
  // All results, the newest first.
  async all() {
    return (await database.use('readonly', (results) => results.getAll())).sort((a, b) => b.time - a.time);
  },
};
