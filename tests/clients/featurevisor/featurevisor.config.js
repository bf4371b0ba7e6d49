module.exports = {
  environments: ["staging", "production"],
  tags: ["all"],
};
