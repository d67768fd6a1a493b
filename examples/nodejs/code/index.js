'use strict';

exports.handler = async (event, context) => {
  const words = event.toString().split(/\s+/).filter(Boolean);
  console.log('counting %d words for %s', words.length, context.function.name);
  const counts = {};
  for (const word of words) counts[word] = (counts[word] || 0) + 1;
  return counts;
};
