// Greedy ids of Hugging Face transformers (torch float32, CPU) for "Once upon a time", first 25 of 64; the whole table and
// its origin are in host/tests/reference.

export const PROMPT = "Once upon a time";
export const PROMPT_IDS = [6403, 1980, 253, 655];
export const GREEDY_IDS = [
  28, 260, 2240, 282, 23324, 27108, 436, 253, 15114, 39228, 28, 351, 25854, 41658, 284, 14055, 9018, 30, 1249, 347, 260, 929,
  3514, 411, 28,
];
export const TEXT =
  ", the city of Nova Haven was a thriving metropolis, with towering skyscrapers and bustling streets. But as the years went by,";
