// A worker that does what the page's Content-Security-Policy forbids: the test must hear of it.

onmessage = ({ data: url }) => fetch(url).then(() => postMessage("reached"), () => postMessage("refused"));
