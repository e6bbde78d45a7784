/* WordPiece of BERT's lower-case models: words, and the longest pieces that they begin with. */

const MOST_BYTES = 100; // of a word that has pieces

/** Ids of a text's pieces. */
export function wordpiece({ pieces, rules, alone, unknown }) {
  const ids = new Map(pieces.map((piece, id) => [piece, id]));
  const encoder = new TextEncoder();

  /** What becomes of a character, with spaces where words end. */
  const become = (character) => {
    if (Object.hasOwn(rules, character)) return rules[character];
    return isWithin(alone, character.codePointAt(0)) ? ` ${character} ` : character;
  };
  const words = (text) => Array.from(text, become).join("").normalize("NFD").split(" ").filter(Boolean);

  const piecesOf = (word) => {
    if (encoder.encode(word).length > MOST_BYTES) return [unknown];
    const letters = Array.from(word);
    const found = [];
    for (let start = 0, end; start < letters.length; start = end) {
      const prefix = start ? "##" : "";
      end = letters.length;
      while (end > start && !ids.has(prefix + letters.slice(start, end).join(""))) end--;
      if (end === start) return [unknown];
      found.push(ids.get(prefix + letters.slice(start, end).join("")));
    }
    return found;
  };
  return (text) => words(text).flatMap(piecesOf);
}

/** Whether a number lies in one of the ranges [first, last], which are in order. */
function isWithin(ranges, number) {
  let [low, high] = [0, ranges.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[middle][1] < number) low = middle + 1;
    else high = middle;
  }
  return low < ranges.length && ranges[low][0] <= number;
}
