/* Token ids of texts, as keras_nest.tokenizers makes them; what it needs to know is of web/tokenizer.py. */

import { sentencepiece } from "./sentencepiece.js";
import { wordpiece } from "./wordpiece.js";

/**
 * A function text -> {ids, length, unknown}: token ids, Int32Array of max_len; how many there were before they were cut
 * or filled up; and whether there is something among those that count that the vocabulary does not know.
 */
export function makeTokenizer(facts) {
  const { max_len: most, unknown } = facts;
  const [kind, before, after] =
    facts.kind === "wordpiece" ? [wordpiece, [facts.first], []] : [sentencepiece, [], [facts.end]];
  const pieces = kind(facts);
  return (text) => {
    const found = pieces(text.replace(/\p{Cs}/gu, "\ufffd")); // halves of a character
    const counted = found.slice(0, most - 1);
    const filled = new Array(most - 1 - counted.length).fill(after[0] ?? 0);
    const ids = Int32Array.from([...before, ...counted, ...filled, ...after]);
    return { ids, length: found.length + 1, unknown: counted.includes(unknown) };
  };
}
