/**
 * Asks again and again until the answer is truthy, and returns it.
 * @param {string} what what is waited for, for the error
 * @param {() => Promise<any> | any} ask
 * @param {number} seconds the patience
 * @param {() => Promise<string> | string} explain more for the error
 */
export async function until(what, ask, seconds = 60, explain = () => "") {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await ask();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`${what} did not come true in ${seconds} s. ${await explain()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
