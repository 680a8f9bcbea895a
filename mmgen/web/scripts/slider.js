// Moves the line between two pictures that lie on each other.
element.addEventListener('input', (event) => {
  const slider = event.target.closest('.slider');
  if (slider) slider.style.setProperty('--cut', `${event.target.value}%`);
});
