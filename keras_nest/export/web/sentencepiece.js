/* SentencePiece with a unigram model: the text is normalized, and cut into the pieces whose scores sum up to most. */

const SPACE = "\u2581";

/** Ids of a text's pieces. */
export function sentencepiece(facts) {
  const { pieces, unknown, bytes } = facts;
  const ids = new Map(Object.entries(pieces).map(([piece, [id, score]]) => [piece, { id, score: Math.fround(score) }]));
  const symbols = new Set(facts.symbols);
  const normalize = normalizer(facts, symbols);
  const encoder = new TextEncoder();
  const size = (letters) => encoder.encode(letters.join("")).length;
  const longest = longestOf(ids.keys());
  const [unknownScore, largest] = [Math.fround(facts.unknown_score), Math.fround(facts.largest_score)];
  // A symbol of the user wins over all else.
  const scoreOf = (piece, letters, score) => (symbols.has(piece) ? Math.fround(size(letters) * largest) - 0.1 : score);

  /** The best path: of each place where a piece may end [id, start] of the last piece. */
  const bestPath = (letters) => {
    const scores = new Float32Array(letters.length + 1); // in whose precision ties are broken
    const ends = new Array(letters.length + 1);
    const offer = (start, end, id, score) => {
      if (ends[end] && score <= scores[end]) return;
      scores[end] = score;
      ends[end] = [id, start];
    };
    letters.forEach((_, start) => {
      let single = false;
      let piece = "";
      for (let end = start + 1; end <= Math.min(letters.length, start + longest); end++) {
        piece += letters[end - 1];
        const found = ids.get(piece);
        if (!found) continue;
        offer(start, end, found.id, scoreOf(piece, letters.slice(start, end), found.score) + scores[start]);
        single ||= end === start + 1;
      }
      if (!single) offer(start, start + 1, unknown, Math.fround(unknownScore + scores[start]));
    });
    return ends;
  };

  return (text) => {
    const letters = Array.from(normalize(text));
    const ends = bestPath(letters);
    const found = [];
    for (let end = letters.length; end > 0; end = ends[end][1]) {
      const [id, start] = ends[end];
      if (id === unknown && bytes) found.push(...Array.from(encoder.encode(letters[start]), (byte) => bytes[byte]).reverse());
      // What is unknown in a row is one piece.
      else if (id !== unknown || found.at(-1) !== unknown) found.push(id);
    }
    return found.reverse();
  };
}

/** The text as the model's file says that it shall be before it is cut. */
function normalizer(facts, symbols) {
  const { rules, escape_whitespaces: escape, remove_extra_whitespaces: remove } = facts;
  const [longestRule, longestSymbol] = [longestOf(Object.keys(rules)), longestOf(symbols)];

  /** The longest beginning at a place for which `has` is true, "" if there is none. */
  const beginning = (letters, place, most, has) => {
    for (let end = Math.min(letters.length, place + most); end > place; end--) {
      const key = letters.slice(place, end).join("");
      if (has(key)) return key;
    }
    return "";
  };

  /** Parts of the text after the rules: none of them goes on in the next. */
  const parts = (text) => {
    const letters = Array.from(text);
    const found = [];
    for (let place = 0; place < letters.length; ) {
      const symbol = beginning(letters, place, longestSymbol, (key) => symbols.has(key));
      const rule = symbol ? "" : beginning(letters, place, longestRule, (key) => Object.hasOwn(rules, key));
      found.push(symbol || (rule ? rules[rule] : letters[place]));
      place += Array.from(symbol || rule || letters[place]).length;
    }
    return found;
  };

  return (text) => {
    const found = parts(text);
    if (remove) while (found[0] === " ") found.shift();
    if (!found.length) return "";
    const space = escape ? SPACE : " ";
    let normal = facts.add_dummy_prefix && !facts.treat_whitespace_as_suffix ? space : "";
    let afterSpace = remove;
    for (const part of found) {
      const rest = afterSpace ? part.replace(/^ +/, "") : part;
      normal += escape ? rest.replaceAll(" ", SPACE) : rest;
      if (rest) afterSpace = rest.endsWith(" ");
      if (!remove) afterSpace = false;
    }
    if (remove) while (normal.endsWith(space)) normal = normal.slice(0, -space.length);
    return facts.add_dummy_prefix && facts.treat_whitespace_as_suffix ? normal + space : normal;
  };
}

/** Characters of the longest. */
function longestOf(texts) {
  let most = 0;
  for (const text of texts) most = Math.max(most, Array.from(text).length);
  return most;
}
